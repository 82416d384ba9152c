//! What is shown of an appointment: names and numbers only when asked for.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::output::{self, Done};
use crate::security::redact;
use crate::storage::Appointment;

const HIDDEN: &str = "(hidden; --reveal prints it)";

#[derive(Debug, Args)]
pub(super) struct Form {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print names and phone numbers
    #[arg(long)]
    reveal: bool,
}

impl Form {
    pub(super) fn list(&self, found: &[Appointment]) -> Done {
        if self.json {
            return output::json(&found.iter().map(|it| self.describe(it)).collect::<Vec<_>>());
        }
        let rows = found.iter().map(|it| {
            vec![
                local(it.start_ms, &it.time_zone, "%a %Y-%m-%d %H:%M"),
                local(it.end_ms, &it.time_zone, "%H:%M"),
                it.time_zone.clone(),
                it.confirmation.clone(),
                state(it).to_owned(),
                it.company.clone(),
                it.service.as_deref().map_or("-".into(), output::plain),
                if self.reveal { output::plain(&it.name) } else { "(hidden)".to_owned() },
                self.number(it.from_number.as_ref()).unwrap_or_else(|| "-".into()),
            ]
        });
        let header = ["BEGINS", "ENDS", "TIME ZONE", "NUMBER", "STATE", "COMPANY", "SERVICE", "NAME", "FROM"];
        output::table(&header, rows.collect(), "no appointments to come; --since shows earlier ones")
    }

    pub(super) fn show(&self, it: &Appointment) -> Done {
        if self.json {
            return output::json(&self.describe(it));
        }
        output::fields(&[
            ("number", Some(it.confirmation.clone())),
            ("state", Some(state(it).to_owned())),
            ("company", Some(it.company.clone())),
            ("begins", Some(local(it.start_ms, &it.time_zone, "%A, %Y-%m-%d %H:%M %Z"))),
            ("ends", Some(local(it.end_ms, &it.time_zone, "%A, %Y-%m-%d %H:%M %Z"))),
            ("time zone", Some(it.time_zone.clone())),
            ("service", it.service.clone()),
            ("name", Some(if self.reveal { it.name.clone() } else { HIDDEN.to_owned() })),
            ("from", self.number(it.from_number.as_ref())),
            ("to", self.number(it.to_number.as_ref())),
            ("call", it.call_id.clone()),
            ("booked (UTC)", Some(output::time(it.booked_at_ms))),
            ("changed (UTC)", (it.revision > 0).then(|| output::time(it.changed_at_ms))),
        ])
    }

    fn describe(&self, it: &Appointment) -> Value {
        json!({
            "confirmation_number": it.confirmation,
            "state": state(it),
            "company": it.company,
            "start": local(it.start_ms, &it.time_zone, "%Y-%m-%dT%H:%M:%S%:z"),
            "end": local(it.end_ms, &it.time_zone, "%Y-%m-%dT%H:%M:%S%:z"),
            "time_zone": it.time_zone,
            "service": it.service,
            "name": self.reveal.then_some(&it.name),
            "from_number": self.number(it.from_number.as_ref()),
            "to_number": self.number(it.to_number.as_ref()),
            "call_id": it.call_id,
            "revision": it.revision,
            "booked_at_ms": it.booked_at_ms,
            "changed_at_ms": it.changed_at_ms,
        })
    }

    fn number(&self, number: Option<&String>) -> Option<String> {
        number.map(|number| if self.reveal { output::plain(number) } else { redact::phone(number) })
    }
}

fn state(it: &Appointment) -> &'static str {
    if it.cancelled { "cancelled" } else { "booked" }
}

/// In the time zone it was booked in.
fn local(ms: i64, zone: &str, format: &str) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_zoned(zone).strftime(format).to_string())
}
