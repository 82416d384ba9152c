//! The number of events to expect during a silence, from the same hours of earlier days. Pure.
//!
//! Nights and weekends are quiet every week, so a silence is compared only with the same time of other days.

use crate::telemetry::activity::ActivityHistory;

pub(super) const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Number of earlier days that are compared; the seventh is the same day of the week.
const LOOKBACK_DAYS: i64 = 7;
/// Minimum number of known days before a silence can be judged.
const MIN_KNOWN_DAYS: usize = 3;

/// Returns the number of events to expect between the latest event and now; `None` with less than three known days.
///
/// With a whole week known, the result is the smaller of two counts: the same day of last week, and the median of all
/// seven days. So quiet Sundays are expected to be quiet, and so is a Monday after two holidays. With less than a week
/// known, the result is the smallest count of the known days.
pub(super) fn expected_events(history: &ActivityHistory, now_ms: i64) -> Option<u64> {
    let from_ms = history.last_event_at_ms.saturating_add(1);
    let first_hour = *history.events_by_hour.keys().next()?;
    // Counting began somewhere within the first hour, so only the hours after it are complete.
    let known_from_ms = (first_hour + 1).saturating_mul(HOUR_MS);
    let start_of = |day: i64| from_ms.saturating_sub(day.saturating_mul(DAY_MS));
    let known_days = (1..=LOOKBACK_DAYS).filter(|day| start_of(*day) >= known_from_ms);
    let mut counts: Vec<u64> =
        known_days.map(|day| events_between(history, start_of(day), now_ms - day * DAY_MS)).collect();
    if counts.len() < MIN_KNOWN_DAYS {
        return None;
    }
    let same_weekday = counts.get(6).copied();
    counts.sort_unstable();
    let median = counts[counts.len() / 2];
    Some(same_weekday.map_or(counts[0], |same_weekday| same_weekday.min(median)))
}

/// Counts the events between two times. Only hourly counts are known, so the events of an hour count as evenly spread.
fn events_between(history: &ActivityHistory, from_ms: i64, to_ms: i64) -> u64 {
    let hours = history.events_by_hour.range(from_ms.div_euclid(HOUR_MS)..=to_ms.div_euclid(HOUR_MS));
    let weighted_counts = hours.map(|(hour, count)| {
        let hour_start_ms = hour.saturating_mul(HOUR_MS);
        let overlap_ms = (hour_start_ms + HOUR_MS).min(to_ms) - hour_start_ms.max(from_ms);
        u128::from(*count) * u128::from(overlap_ms.max(0).unsigned_abs())
    });
    // Divided once, after the sum, so that rounding does not add up over the hours.
    let total = weighted_counts.sum::<u128>() / u128::from(HOUR_MS.unsigned_abs());
    u64::try_from(total).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Monday, 00:00 UTC.
    const MONDAY: i64 = 20_773 * DAY_MS;

    /// An office that is open from 8 to 18 on `days` of the week and has `per_hour` events per hour until `until_ms`.
    fn office(days: &[i64], per_hour: u64, from_ms: i64, until_ms: i64) -> ActivityHistory {
        let open = |hour: &i64| (8..18).contains(&(hour % 24)) && days.contains(&((hour / 24 - 20_773).rem_euclid(7)));
        let hours: Vec<i64> = (from_ms / HOUR_MS..until_ms / HOUR_MS).filter(open).collect();
        let last_ms = hours.last().map_or(0, |hour| (hour + 1) * HOUR_MS - 1);
        ActivityHistory {
            last_event_at_ms: last_ms,
            events_by_hour: hours.into_iter().map(|hour| (hour, per_hour)).collect(),
        }
    }

    fn at(day: i64, hour: i64) -> i64 {
        MONDAY + day * DAY_MS + hour * HOUR_MS
    }

    const WEEKDAYS: [i64; 5] = [0, 1, 2, 3, 4];

    #[test]
    fn events_are_expected_during_office_hours() {
        let seen = office(&WEEKDAYS, 40, at(-10, 0), at(1, 12));
        assert_eq!(expected_events(&seen, at(1, 12)), Some(0));
        assert_eq!(expected_events(&seen, at(1, 13)), Some(40));
        assert_eq!(expected_events(&seen, at(1, 13) + HOUR_MS / 2), Some(60));
        assert_eq!(expected_events(&seen, at(2, 7)), Some(240), "and the count stays over night");
    }

    #[test]
    fn nights_and_weekends_are_expected_to_be_quiet() {
        let evening = office(&WEEKDAYS, 40, at(-10, 0), at(1, 18));
        assert_eq!(expected_events(&evening, at(2, 8)), Some(0));
        let friday = office(&WEEKDAYS, 40, at(-10, 0), at(4, 18));
        assert_eq!(expected_events(&friday, at(5, 12)), Some(0), "Saturday noon");
        assert_eq!(expected_events(&friday, at(6, 23)), Some(0), "Sunday night");
        assert!(expected_events(&friday, at(7, 10)) >= Some(40), "Monday morning");
    }

    #[test]
    fn one_odd_day_changes_nothing() {
        let mut seen = office(&[0, 1, 2, 3, 4, 5, 6], 40, at(-8, 0), at(1, 12));
        // No events on the day before: the receiver was down.
        seen.events_by_hour.retain(|hour, _| hour / 24 != at(0, 0) / DAY_MS);
        assert_eq!(expected_events(&seen, at(1, 14)), Some(80));
        // A hundred times the events on the same day of last week.
        let same_day = at(-6, 0) / DAY_MS;
        seen.events_by_hour
            .iter_mut()
            .filter(|(hour, _)| **hour / 24 == same_day)
            .for_each(|(_, count)| *count = 4_000);
        assert_eq!(expected_events(&seen, at(1, 14)), Some(80));
    }

    #[test]
    fn nothing_is_expected_before_three_days_are_known() {
        assert_eq!(expected_events(&ActivityHistory::default(), at(1, 12)), None);
        let two_days = office(&WEEKDAYS, 40, at(0, 0), at(2, 12));
        assert_eq!(expected_events(&two_days, at(2, 15)), None);
        let four_days = office(&WEEKDAYS, 40, at(0, 0), at(4, 12));
        assert_eq!(expected_events(&four_days, at(4, 14)), Some(80));
    }
}
