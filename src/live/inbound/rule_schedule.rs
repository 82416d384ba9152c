//! The conditions `days`, `hours` and `time_zone` of a rule. No I/O; the current time is passed in.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::config::FieldError;
use crate::config::InboundRuleSettings;

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const MINUTES_PER_DAY: u16 = 24 * 60;

#[derive(Clone, Debug)]
pub(super) struct RuleSchedule {
    /// Indexed by weekday from Monday; `None` for every day.
    days: Option<[bool; 7]>,
    /// First minute of the day and the minute after the last; `None` for all day. The second is smaller than the
    /// first if the hours extend past midnight.
    hours: Option<(u16, u16)>,
    pub(super) time_zone: TimeZone,
}

impl RuleSchedule {
    pub(super) fn from_rule(rule: &InboundRuleSettings) -> Result<Self, FieldError> {
        Ok(Self {
            days: parse_days(&rule.days)?,
            hours: parse_hours(rule.hours.as_deref())?,
            time_zone: parse_time_zone(rule.time_zone.as_deref())?,
        })
    }

    /// Compares local time: hours that a clock change skips do not occur, and hours that it repeats match twice. The
    /// part of the hours after midnight belongs to the day on which they started.
    pub(super) fn is_active(&self, now_ms: i64) -> bool {
        let Ok(now) = Timestamp::from_millisecond(now_ms) else { return false };
        let local = now.to_zoned(self.time_zone.clone());
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let is_active_day = |day: usize| self.days.is_none_or(|days| days[day % 7]);
        match self.hours {
            None => is_active_day(today),
            Some((from, until)) if from < until => (from..until).contains(&minute) && is_active_day(today),
            // Past midnight: before it, today counts; after it, yesterday, which is 6 days ahead modulo 7.
            Some((from, _)) if minute >= from => is_active_day(today),
            Some((_, until)) => minute < until && is_active_day(today + 6),
        }
    }
}

fn parse_days(texts: &[String]) -> Result<Option<[bool; 7]>, FieldError> {
    let number = |text: &str| {
        let name = text.trim().to_ascii_lowercase();
        WEEKDAYS.iter().position(|(known, _)| *known == name).ok_or_else(|| {
            FieldError::new(
                "days",
                format!("`{text}` is not a day; expected days and ranges such as [\"mon-fri\", \"sun\"]"),
            )
        })
    };
    let mut days = [false; 7];
    for text in texts {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = number(first)?;
        let last = number(last)?;
        // `fri-mon` wraps around the end of the week.
        let last = if last < first { last + 7 } else { last };
        for day in first..=last {
            days[day % 7] = true;
        }
    }
    Ok((!texts.is_empty()).then_some(days))
}

fn parse_hours(text: Option<&str>) -> Result<Option<(u16, u16)>, FieldError> {
    let Some(text) = text else { return Ok(None) };
    let invalid = || {
        let expected = "expected a start and an end such as \"09:00-17:00\" or \"22:00-06:00\"";
        FieldError::new("hours", format!("`{text}` is not a range of hours; {expected}"))
    };
    let (from, until) = text.split_once('-').ok_or_else(invalid)?;
    let from = parse_minute_of_day(from).ok_or_else(invalid)?;
    let until = parse_minute_of_day(until).ok_or_else(invalid)?;
    if from == until || from == MINUTES_PER_DAY { Err(invalid()) } else { Ok(Some((from, until))) }
}

/// Parses `HH:MM`, from `00:00` to `24:00`.
fn parse_minute_of_day(text: &str) -> Option<u16> {
    let two_digits = |part: &str| -> Option<u16> {
        // `parse` alone would accept a sign.
        let valid = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if valid { part.parse().ok() } else { None }
    };
    let (hour, minute) = text.trim().split_once(':')?;
    let hour = two_digits(hour)?;
    let minute = two_digits(minute)?;
    let minute_of_day = hour * 60 + minute;
    (minute < 60 && minute_of_day <= MINUTES_PER_DAY).then_some(minute_of_day)
}

fn parse_time_zone(name: Option<&str>) -> Result<TimeZone, FieldError> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_| {
        let expected = "expected an IANA name such as \"Europe/Berlin\" or \"America/New_York\"";
        FieldError::new("time_zone", format!("`{name}` is not a known time zone; {expected}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(days: &[&str], hours: &str, zone: &str) -> InboundRuleSettings {
        InboundRuleSettings {
            days: days.iter().map(|day| (*day).to_owned()).collect(),
            hours: Some(hours.to_owned()).filter(|hours| !hours.is_empty()),
            time_zone: Some(zone.to_owned()).filter(|zone| !zone.is_empty()),
            ..InboundRuleSettings::default()
        }
    }

    fn is_active_at(days: &[&str], hours: &str, zone: &str, instant: &str) -> bool {
        let at: Timestamp = instant.parse().unwrap();
        RuleSchedule::from_rule(&rule(days, hours, zone)).unwrap().is_active(at.as_millisecond())
    }

    #[test]
    fn days_and_hours_use_the_time_zone_of_the_rule() {
        // 20 November 2026 is a Friday.
        let office_hours = |instant| is_active_at(&["mon-fri"], "09:00-17:00", "Europe/Berlin", instant);
        assert!(office_hours("2026-11-20T08:00:00Z") && office_hours("2026-11-20T15:59:59Z"));
        assert!(!office_hours("2026-11-20T07:59:59Z") && !office_hours("2026-11-20T16:00:00Z"));
        assert!(!office_hours("2026-11-21T10:00:00Z"), "Saturday");
        assert!(is_active_at(&["sat"], "", "Pacific/Auckland", "2026-11-20T12:00:00Z"), "already Saturday there");
        assert!(is_active_at(&["fri"], "", "America/Los_Angeles", "2026-11-21T07:00:00Z"), "still Friday there");
        assert!(
            is_active_at(&["FRI-mon"], "", "", "2026-11-22T12:00:00Z")
                && !is_active_at(&["fri-mon"], "", "", "2026-11-24T12:00:00Z")
        );
        assert!(is_active_at(&[], "", "", "2026-11-22T12:00:00Z"), "a rule without days and hours is always active");
        assert!(is_active_at(&[], "18:00-24:00", "", "2026-11-22T23:59:59Z"));
    }

    #[test]
    fn hours_past_midnight_belong_to_the_day_they_start_on() {
        let night = |instant| is_active_at(&["mon-fri"], "22:00-06:00", "", instant);
        assert!(night("2026-11-20T22:00:00Z"), "Friday night");
        assert!(night("2026-11-21T05:59:00Z"), "the rest of Friday night, on Saturday");
        assert!(!night("2026-11-21T22:00:00Z") && !night("2026-11-21T06:00:00Z"));
        assert!(!night("2026-11-23T05:00:00Z"), "it started on Sunday");
        assert!(night("2026-11-24T05:00:00Z") && !night("2026-11-24T12:00:00Z"));
    }

    #[test]
    fn hours_follow_local_time_across_clock_changes() {
        let office_hours = |instant| is_active_at(&[], "09:00-17:00", "Europe/Berlin", instant);
        // 27 March is winter time (UTC+1), 29 March summer time (UTC+2).
        assert!(!office_hours("2026-03-27T07:30:00Z") && office_hours("2026-03-27T08:30:00Z"));
        assert!(office_hours("2026-03-30T07:30:00Z") && !office_hours("2026-03-30T15:30:00Z"));
        // On 29 March, 02:00 to 03:00 is skipped: 00:59Z is 01:59, and 01:00Z is 03:00.
        let gap = |instant| is_active_at(&[], "02:00-03:00", "Europe/Berlin", instant);
        assert!(!gap("2026-03-29T00:59:00Z") && !gap("2026-03-29T01:00:00Z") && gap("2026-03-30T00:30:00Z"));
        // On 25 October, it occurs twice.
        assert!(gap("2026-10-25T00:30:00Z") && gap("2026-10-25T01:30:00Z") && !gap("2026-10-25T02:00:00Z"));
    }

    #[test]
    fn invalid_values_are_rejected_with_their_key() {
        for (rule, key) in [
            (rule(&["monday"], "", ""), "days"),
            (rule(&["mon-"], "", ""), "days"),
            (rule(&[], "9-17", ""), "hours"),
            (rule(&[], "09:00", ""), "hours"),
            (rule(&[], "09:00-09:00", ""), "hours"),
            (rule(&[], "09:60-10:00", ""), "hours"),
            (rule(&[], "09:00-24:01", ""), "hours"),
            (rule(&[], "+9:00-10:00", ""), "hours"),
            (rule(&[], "24:00-10:00", ""), "hours"),
            (rule(&[], "", "Berlin"), "time_zone"),
        ] {
            assert_eq!(RuleSchedule::from_rule(&rule).unwrap_err().key(), key);
        }
    }
}
