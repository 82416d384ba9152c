//! How an appointment is shown. Names and phone numbers are hidden unless `--reveal` is given.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::output::{self, CliResult};
use crate::privacy::redact;
use crate::storage::Appointment;

const HIDDEN_PLACEHOLDER: &str = "(hidden; --reveal prints it)";

#[derive(Debug, Args)]
pub(super) struct AppointmentDisplayArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Print names and phone numbers
    #[arg(long)]
    reveal: bool,
}

impl AppointmentDisplayArgs {
    pub(super) fn print_list(&self, appointments: &[Appointment]) -> CliResult {
        if self.json {
            return output::print_json(&appointments.iter().map(|it| self.appointment_json(it)).collect::<Vec<_>>());
        }
        let rows = appointments.iter().map(|it| {
            vec![
                format_local_time(it.start_ms, &it.time_zone, "%a %Y-%m-%d %H:%M"),
                format_local_time(it.end_ms, &it.time_zone, "%H:%M"),
                it.time_zone.clone(),
                it.confirmation.clone(),
                state_label(it).to_owned(),
                it.company.clone(),
                it.service.as_deref().map_or("-".into(), output::sanitize),
                if self.reveal { output::sanitize(&it.name) } else { "(hidden)".to_owned() },
                self.format_number(it.from_number.as_ref()).unwrap_or_else(|| "-".into()),
            ]
        });
        let header = ["BEGINS", "ENDS", "TIME ZONE", "NUMBER", "STATE", "COMPANY", "SERVICE", "NAME", "FROM"];
        output::print_table(&header, rows.collect(), "no upcoming appointments; --since TIME also lists earlier ones")
    }

    pub(super) fn print_appointment(&self, it: &Appointment) -> CliResult {
        if self.json {
            return output::print_json(&self.appointment_json(it));
        }
        output::print_fields(&[
            ("number", Some(it.confirmation.clone())),
            ("state", Some(state_label(it).to_owned())),
            ("company", Some(it.company.clone())),
            ("begins", Some(format_local_time(it.start_ms, &it.time_zone, "%A, %Y-%m-%d %H:%M %Z"))),
            ("ends", Some(format_local_time(it.end_ms, &it.time_zone, "%A, %Y-%m-%d %H:%M %Z"))),
            ("time zone", Some(it.time_zone.clone())),
            ("service", it.service.clone()),
            ("name", Some(if self.reveal { it.name.clone() } else { HIDDEN_PLACEHOLDER.to_owned() })),
            ("from", self.format_number(it.from_number.as_ref())),
            ("to", self.format_number(it.to_number.as_ref())),
            ("call", it.call_id.clone()),
            ("booked (UTC)", Some(output::format_time(it.booked_at_ms))),
            ("changed (UTC)", (it.revision > 0).then(|| output::format_time(it.updated_at_ms))),
        ])
    }

    fn appointment_json(&self, it: &Appointment) -> Value {
        json!({
            "confirmation_number": it.confirmation,
            "state": state_label(it),
            "company": it.company,
            "start": format_local_time(it.start_ms, &it.time_zone, "%Y-%m-%dT%H:%M:%S%:z"),
            "end": format_local_time(it.end_ms, &it.time_zone, "%Y-%m-%dT%H:%M:%S%:z"),
            "time_zone": it.time_zone,
            "service": it.service,
            "name": self.reveal.then_some(&it.name),
            "from_number": self.format_number(it.from_number.as_ref()),
            "to_number": self.format_number(it.to_number.as_ref()),
            "call_id": it.call_id,
            "revision": it.revision,
            "booked_at_ms": it.booked_at_ms,
            "updated_at_ms": it.updated_at_ms,
        })
    }

    fn format_number(&self, number: Option<&String>) -> Option<String> {
        number.map(|number| if self.reveal { output::sanitize(number) } else { redact::phone(number) })
    }
}

fn state_label(it: &Appointment) -> &'static str {
    if it.cancelled { "cancelled" } else { "booked" }
}

/// Formats a time in the time zone of the booking; in UTC if that zone is unknown on this machine.
fn format_local_time(ms: i64, zone: &str, format: &str) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_zoned(zone).strftime(format).to_string())
}
