//! Days and hours in a time zone. Pure: the time is passed in.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::rules::InvalidInboundKey;
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

/// When a rule holds.
#[derive(Clone, Debug)]
pub(super) struct RuleSchedule {
    /// By number from Monday; `None`: every day.
    days: Option<[bool; 7]>,
    /// Minutes of the day, the last one not included; the second is the smaller when it goes beyond midnight.
    hours: Option<(u16, u16)>,
    pub(super) time_zone: TimeZone,
}

impl RuleSchedule {
    pub(super) fn from_rule(rule: &InboundRuleSettings) -> Result<Self, InvalidInboundKey> {
        Ok(Self {
            days: parse_days(&rule.days)?,
            hours: parse_hours(rule.hours.as_deref())?,
            time_zone: parse_time_zone(rule.time_zone.as_deref())?,
        })
    }

    /// By the clocks on the wall there: what a change to summer time leaves out does not happen, and what it repeats holds
    /// twice. Hours beyond midnight belong to the day they began on.
    pub(super) fn is_active(&self, now_ms: i64) -> bool {
        let Ok(now) = Timestamp::from_millisecond(now_ms) else { return false };
        let there = now.to_zoned(self.time_zone.clone());
        let minute = u16::from(there.hour().unsigned_abs()) * 60 + u16::from(there.minute().unsigned_abs());
        let today = usize::from(there.weekday().to_monday_zero_offset().unsigned_abs());
        let on = |day: usize| self.days.is_none_or(|days| days[day % 7]);
        match self.hours {
            None => on(today),
            Some((from, until)) if from < until => (from..until).contains(&minute) && on(today),
            Some((from, _)) if minute >= from => on(today),
            Some((_, until)) => minute < until && on(today + 6),
        }
    }
}

fn parse_days(texts: &[String]) -> Result<Option<[bool; 7]>, InvalidInboundKey> {
    let refused = || ("days", "expected days or ranges of them, such as [\"mon-fri\", \"sun\"]".to_owned());
    let number = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        WEEKDAYS.iter().position(|(name, _)| *name == text).ok_or_else(refused)
    };
    let mut days = [false; 7];
    for text in texts {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        // `fri-mon` goes over the end of the week.
        (first..=if last < first { last + 7 } else { last }).for_each(|day| days[day % 7] = true);
    }
    Ok((!texts.is_empty()).then_some(days))
}

fn parse_hours(text: Option<&str>) -> Result<Option<(u16, u16)>, InvalidInboundKey> {
    let refused = || ("hours", "expected from and until, such as \"09:00-17:00\" or \"22:00-06:00\"".to_owned());
    let Some(text) = text else { return Ok(None) };
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let (hour, minute): (u16, u16) =
            (digits(hour).then_some(hour)?.parse().ok()?, digits(minute).then_some(minute)?.parse().ok()?);
        Some(hour * 60 + minute).filter(|all| minute < 60 && *all <= MINUTES_PER_DAY)
    };
    let (from, until) = text.split_once('-').ok_or_else(refused)?;
    let (from, until) = (minute(from).ok_or_else(refused)?, minute(until).ok_or_else(refused)?);
    if from == until || from == MINUTES_PER_DAY { Err(refused()) } else { Ok(Some((from, until))) }
}

fn parse_time_zone(name: Option<&str>) -> Result<TimeZone, InvalidInboundKey> {
    let refused =
        || ("time_zone", "expected an IANA name such as \"Europe/Berlin\" or \"America/New_York\"".to_owned());
    name.map_or(Ok(TimeZone::UTC), |name| TimeZone::get(name).map_err(|_| refused()))
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
    fn days_and_hours_are_those_of_the_zone() {
        // 20 November 2026 is a Friday.
        let office = |instant| is_active_at(&["mon-fri"], "09:00-17:00", "Europe/Berlin", instant);
        assert!(office("2026-11-20T08:00:00Z") && office("2026-11-20T15:59:59Z"));
        assert!(!office("2026-11-20T07:59:59Z") && !office("2026-11-20T16:00:00Z"));
        assert!(!office("2026-11-21T10:00:00Z"), "Saturday");
        assert!(is_active_at(&["sat"], "", "Pacific/Auckland", "2026-11-20T12:00:00Z"), "already Saturday there");
        assert!(is_active_at(&["fri"], "", "America/Los_Angeles", "2026-11-21T07:00:00Z"), "still Friday there");
        assert!(
            is_active_at(&["FRI-mon"], "", "", "2026-11-22T12:00:00Z")
                && !is_active_at(&["fri-mon"], "", "", "2026-11-24T12:00:00Z")
        );
        assert!(is_active_at(&[], "", "", "2026-11-22T12:00:00Z"), "no condition holds always");
        assert!(is_active_at(&[], "18:00-24:00", "", "2026-11-22T23:59:59Z"));
    }

    #[test]
    fn hours_beyond_midnight_belong_to_the_day_they_began_on() {
        let night = |instant| is_active_at(&["mon-fri"], "22:00-06:00", "", instant);
        assert!(night("2026-11-20T22:00:00Z"), "Friday night");
        assert!(night("2026-11-21T05:59:00Z"), "its other end, on Saturday");
        assert!(!night("2026-11-21T22:00:00Z") && !night("2026-11-21T06:00:00Z"));
        assert!(!night("2026-11-23T05:00:00Z"), "began on Sunday");
        assert!(night("2026-11-24T05:00:00Z") && !night("2026-11-24T12:00:00Z"));
    }

    #[test]
    fn summer_time_moves_the_hours_with_the_clocks() {
        let office = |instant| is_active_at(&[], "09:00-17:00", "Europe/Berlin", instant);
        // 27 March is winter time (UTC+1), 29 March summer time (UTC+2).
        assert!(!office("2026-03-27T07:30:00Z") && office("2026-03-27T08:30:00Z"));
        assert!(office("2026-03-30T07:30:00Z") && !office("2026-03-30T15:30:00Z"));
        // On 29 March 02:00 to 03:00 does not happen: 00:59Z is 01:59, 01:00Z is 03:00.
        let gap = |instant| is_active_at(&[], "02:00-03:00", "Europe/Berlin", instant);
        assert!(!gap("2026-03-29T00:59:00Z") && !gap("2026-03-29T01:00:00Z") && gap("2026-03-30T00:30:00Z"));
        // On 25 October it happens twice.
        assert!(gap("2026-10-25T00:30:00Z") && gap("2026-10-25T01:30:00Z") && !gap("2026-10-25T02:00:00Z"));
    }

    #[test]
    fn mistakes_are_refused_by_their_key() {
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
            assert_eq!(RuleSchedule::from_rule(&rule).unwrap_err().0, key);
        }
    }
}
