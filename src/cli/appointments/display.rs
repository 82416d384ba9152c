//! How an appointment is shown. Names and phone numbers are hidden unless `--reveal` is given.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::list_args::empty_text;
use super::super::output::{self, CliResult};
use crate::view::AppointmentView;

const HIDDEN_PLACEHOLDER: &str = "(hidden; --reveal prints it)";

#[derive(Debug, Args)]
pub(super) struct AppointmentDisplayArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Print names and phone numbers
    #[arg(long)]
    pub(super) reveal: bool,
}

impl AppointmentDisplayArgs {
    pub(super) fn print_list(&self, appointments: &[AppointmentView], is_filtered: bool) -> CliResult {
        if self.json {
            return output::print_json(&appointments);
        }
        let rows = appointments.iter().map(|it| {
            vec![
                format_time_of_day(&it.start, &it.time_zone, "%a %Y-%m-%d %H:%M"),
                format_time_of_day(&it.end, &it.time_zone, "%H:%M"),
                it.time_zone.clone(),
                it.confirmation_number.clone(),
                it.state.as_str().to_owned(),
                it.company.clone(),
                it.service.as_deref().map_or("-".into(), str::to_owned),
                it.name.as_deref().map_or("(hidden)".into(), str::to_owned),
                it.from_number.as_deref().map_or("-".into(), str::to_owned),
            ]
        });
        let header = ["BEGINS", "ENDS", "TIME ZONE", "NUMBER", "STATE", "COMPANY", "SERVICE", "NAME", "FROM"];
        let nothing = "no upcoming appointments; --since TIME also lists earlier ones";
        output::print_table(&header, rows.collect(), &empty_text("appointments", is_filtered, nothing))
    }

    pub(super) fn print_appointment(&self, it: &AppointmentView) -> CliResult {
        if self.json {
            return output::print_json(it);
        }
        output::print_fields(&[
            ("number", Some(it.confirmation_number.clone())),
            ("state", Some(it.state.as_str().to_owned())),
            ("company", Some(it.company.clone())),
            ("begins", Some(format_time_of_day(&it.start, &it.time_zone, "%A, %Y-%m-%d %H:%M %Z"))),
            ("ends", Some(format_time_of_day(&it.end, &it.time_zone, "%A, %Y-%m-%d %H:%M %Z"))),
            ("time zone", Some(it.time_zone.clone())),
            ("service", it.service.clone()),
            ("name", Some(it.name.clone().unwrap_or_else(|| HIDDEN_PLACEHOLDER.to_owned()))),
            ("from", it.from_number.clone()),
            ("to", it.to_number.clone()),
            ("call", it.call_id.clone()),
            ("booked", Some(output::format_time(it.booked_at_ms))),
            ("changed", (it.revision > 0).then(|| output::format_time(it.updated_at_ms))),
        ])
    }
}

/// Formats an RFC 3339 time in the time zone of the booking; in UTC if that zone is unknown on this machine.
fn format_time_of_day(time: &str, zone: &str, format: &str) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    match time.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(zone).strftime(format).to_string(),
        Err(_) => time.to_owned(),
    }
}
