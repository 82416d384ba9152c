//! Formats appointments as an iCalendar object (RFC 5545). Times are in UTC; calendars convert them to the user's zone.

use std::fmt::Write;

use jiff::Timestamp;

use crate::storage::Appointment;

/// Octets per line without the line end, as RFC 5545 requires.
const MAX_LINE_OCTETS: usize = 75;

pub(super) fn format_calendar(appointments: &[Appointment]) -> String {
    let mut text = String::new();
    for fixed in ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//retell-webhook//appointments//EN", "CALSCALE:GREGORIAN"]
    {
        append_folded_line(&mut text, fixed);
    }
    for appointment in appointments {
        append_event(&mut text, appointment);
    }
    append_folded_line(&mut text, "END:VCALENDAR");
    text
}

/// Canceled appointments are included, so that a calendar that imported them before removes them.
fn append_event(text: &mut String, it: &Appointment) {
    let mut put = |name: &str, value: &str| append_folded_line(text, &format!("{name}:{value}"));
    put("BEGIN", "VEVENT");
    // Two companies can have the same confirmation number; the row id makes the UID unique.
    put("UID", &format!("{}-{}@retell-webhook", it.confirmation, it.id));
    put("DTSTAMP", &format_utc(it.updated_at_ms));
    put("DTSTART", &format_utc(it.start_ms));
    put("DTEND", &format_utc(it.end_ms));
    put("SEQUENCE", &it.revision.to_string());
    put("STATUS", if it.cancelled { "CANCELLED" } else { "CONFIRMED" });
    let summary = it.service.as_ref().map_or_else(|| it.name.clone(), |service| format!("{service}: {}", it.name));
    put("SUMMARY", &escape_text(&summary));
    let mut description = format!("Confirmation number {}", it.confirmation);
    if let Some(number) = &it.from_number {
        let _ = write!(description, "\nBooked from {number}");
    }
    put("DESCRIPTION", &escape_text(&description));
    put("END", "VEVENT");
}

/// A time in UTC as iCalendar writes it: `20261123T133000Z`.
fn format_utc(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn escape_text(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\\' | ';' | ',' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Appends a content line, folded between characters where it exceeds the maximum length.
fn append_folded_line(text: &mut String, content: &str) {
    let mut rest = content;
    let mut max_octets = MAX_LINE_OCTETS;
    while rest.len() > max_octets {
        let (line, remainder) = rest.split_at(rest.floor_char_boundary(max_octets));
        text.push_str(line);
        text.push_str("\r\n ");
        rest = remainder;
        // The space that marks a folded line counts as part of it.
        max_octets = MAX_LINE_OCTETS - 1;
    }
    text.push_str(rest);
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::CompanyId;

    fn appointment(name: &str) -> Appointment {
        Appointment {
            id: 7,
            company_id: CompanyId::new(1),
            company: "default".into(),
            confirmation: "K7M2XQ".into(),
            cancelled: false,
            name: name.into(),
            name_key: String::new(),
            from_number: Some("+12025550143".into()),
            to_number: None,
            call_id: None,
            service: Some("Filling, large".into()),
            start_ms: 1_795_440_600_000,
            end_ms: 1_795_442_400_000,
            time_zone: "Europe/Berlin".into(),
            revision: 2,
            booked_at_ms: 1_795_251_600_000,
            updated_at_ms: 1_795_251_600_000,
        }
    }

    #[test]
    fn an_appointment_is_one_calendar_event() {
        let text = format_calendar(&[appointment("Ada; \"Countess\" \\ Love\nlace")]);
        let expected = "BEGIN:VEVENT\r\nUID:K7M2XQ-7@retell-webhook\r\nDTSTAMP:20261121T090000Z\r\n\
            DTSTART:20261123T133000Z\r\nDTEND:20261123T140000Z\r\nSEQUENCE:2\r\nSTATUS:CONFIRMED\r\n\
            SUMMARY:Filling\\, large: Ada\\; \"Countess\" \\\\ Love\\nlace\r\n\
            DESCRIPTION:Confirmation number K7M2XQ\\nBooked from +12025550143\r\nEND:VEVENT\r\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n") && text.ends_with("END:VCALENDAR\r\n"));
    }

    #[test]
    fn long_lines_are_folded_between_characters() {
        let name = "Zoë ".repeat(60);
        let text = format_calendar(&[appointment(&name)]);
        assert!(text.split("\r\n").all(|line| line.len() <= MAX_LINE_OCTETS), "{text}");
        assert!(text.replace("\r\n ", "").contains(&format!("Filling\\, large: {name}")), "{text}");
        assert!(!text.replace("\r\n", "").contains('\n'));
    }
}
