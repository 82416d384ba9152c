//! The raised alarms. Each gets one notification when it is raised, one reminder per day, and one when it is resolved,
//! however often its check flaps in between. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::storage::{AlarmKind, AlarmRow};

/// Maximum number of alarms raised at the same time; further ones are raised when others are resolved.
const MAX_RAISED_ALARMS: usize = 200;
/// Interval of the reminders about an alarm that stays raised.
const REMINDER_INTERVAL_MS: i64 = 24 * 3_600_000;

/// The result of one alarm check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AlarmCheckResult {
    pub(super) alarm: AlarmKind,
    /// The handler, the company slug or `company/agent`; empty for an alarm about the whole receiver.
    pub(super) subject: String,
    pub(super) status: CheckStatus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckStatus {
    /// The condition holds; the text says what is wrong and what to do.
    Failing(String),
    Passing,
    /// Between the limits, or unknown: a raised alarm stays raised, and no new one is raised.
    Indeterminate,
}

/// A change to report: an alarm was raised or resolved, or a reminder is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AlarmNotification {
    pub(super) alarm: AlarmKind,
    pub(super) subject: String,
    pub(super) since_ms: i64,
    pub(super) text: String,
    pub(super) kind: AlarmNotificationKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AlarmNotificationKind {
    Raised,
    Reminder,
    Resolved,
}

/// The raised alarms by kind and subject.
#[derive(Debug, Default)]
pub(super) struct RaisedAlarms(BTreeMap<(AlarmKind, String), RaisedAlarm>);

#[derive(Debug)]
struct RaisedAlarm {
    since_ms: i64,
    last_notified_ms: i64,
    text: String,
    /// When the check began to pass; `None` while it does not.
    passing_since_ms: Option<i64>,
}

impl RaisedAlarms {
    /// Restores the alarms that were raised when the receiver stopped, so that a restart does not report them again. One
    /// that was raised here before the store could be read continues the stored one.
    pub(super) fn restore(&mut self, rows: Vec<AlarmRow>) {
        for AlarmRow { kind, subject, since_ms, last_notified_ms, text } in rows {
            let restored = RaisedAlarm { since_ms, last_notified_ms, text, passing_since_ms: None };
            let raised = self.0.entry((kind, subject)).or_insert(restored);
            raised.since_ms = raised.since_ms.min(since_ms);
        }
    }

    pub(super) fn to_rows(&self) -> Vec<AlarmRow> {
        let to_row = |((alarm, subject), raised): (&(AlarmKind, String), &RaisedAlarm)| AlarmRow {
            kind: *alarm,
            subject: subject.clone(),
            since_ms: raised.since_ms,
            last_notified_ms: raised.last_notified_ms,
            text: raised.text.clone(),
        };
        self.0.iter().map(to_row).collect()
    }

    /// The kinds of which at least one alarm is raised.
    pub(super) fn raised_kinds(&self) -> BTreeSet<AlarmKind> {
        self.0.keys().map(|(alarm, _)| *alarm).collect()
    }

    /// Applies the results of one check of everything. A raised alarm without a result is resolved at once: its
    /// handler or company was removed, or its check was turned off.
    pub(super) fn apply(
        &mut self,
        results: Vec<AlarmCheckResult>,
        resolve_after_ms: i64,
        now_ms: i64,
    ) -> Vec<AlarmNotification> {
        self.correct_future_times(now_ms);
        let mut notifications = Vec::new();
        let mut checked = BTreeSet::new();
        for AlarmCheckResult { alarm, subject, status } in results {
            let key = (alarm, subject);
            notifications.extend(match status {
                CheckStatus::Failing(text) => self.raise(&key, text, now_ms),
                CheckStatus::Passing => self.record_passing(&key, resolve_after_ms, now_ms),
                CheckStatus::Indeterminate => None,
            });
            checked.insert(key);
        }
        let unchecked: Vec<_> = self.0.keys().filter(|key| !checked.contains(*key)).cloned().collect();
        notifications.extend(unchecked.iter().filter_map(|key| self.resolve(key)));
        notifications
    }

    /// After the clock was set back: reminders and resolutions must not wait until it reaches these times.
    fn correct_future_times(&mut self, now_ms: i64) {
        for raised in self.0.values_mut() {
            raised.since_ms = raised.since_ms.min(now_ms);
            raised.last_notified_ms = raised.last_notified_ms.min(now_ms);
            raised.passing_since_ms = raised.passing_since_ms.map(|since_ms| since_ms.min(now_ms));
        }
    }

    fn raise(&mut self, key: &(AlarmKind, String), text: String, now_ms: i64) -> Option<AlarmNotification> {
        let Some(raised) = self.0.get_mut(key) else {
            if self.0.len() >= MAX_RAISED_ALARMS {
                return None;
            }
            let raised = RaisedAlarm { since_ms: now_ms, last_notified_ms: now_ms, text, passing_since_ms: None };
            let notification = raised.notification(key, AlarmNotificationKind::Raised);
            self.0.insert(key.clone(), raised);
            return Some(notification);
        };
        raised.text = text;
        // A check that fails again within `alarms.resolve_after_ms` continues the same alarm.
        raised.passing_since_ms = None;
        if now_ms.saturating_sub(raised.last_notified_ms) < REMINDER_INTERVAL_MS {
            return None;
        }
        raised.last_notified_ms = now_ms;
        Some(raised.notification(key, AlarmNotificationKind::Reminder))
    }

    fn record_passing(
        &mut self,
        key: &(AlarmKind, String),
        resolve_after_ms: i64,
        now_ms: i64,
    ) -> Option<AlarmNotification> {
        let raised = self.0.get_mut(key)?;
        let since_ms = *raised.passing_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since_ms) < resolve_after_ms { None } else { self.resolve(key) }
    }

    fn resolve(&mut self, key: &(AlarmKind, String)) -> Option<AlarmNotification> {
        self.0.remove(key).map(|raised| raised.notification(key, AlarmNotificationKind::Resolved))
    }
}

impl RaisedAlarm {
    fn notification(&self, (alarm, subject): &(AlarmKind, String), kind: AlarmNotificationKind) -> AlarmNotification {
        AlarmNotification {
            alarm: *alarm,
            subject: subject.clone(),
            since_ms: self.since_ms,
            text: self.text.clone(),
            kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLVE_AFTER_MS: i64 = 300_000;

    fn check_result(subject: &str, status: CheckStatus) -> AlarmCheckResult {
        AlarmCheckResult { alarm: AlarmKind::BreakerOpen, subject: subject.to_owned(), status }
    }

    fn failing() -> CheckStatus {
        CheckStatus::Failing("it is broken".to_owned())
    }

    fn apply_status(alarms: &mut RaisedAlarms, status: CheckStatus, now_ms: i64) -> Vec<AlarmNotificationKind> {
        let notifications = alarms.apply(vec![check_result("crm", status)], RESOLVE_AFTER_MS, now_ms);
        notifications.into_iter().map(|notification| notification.kind).collect()
    }

    #[test]
    fn an_alarm_is_reported_when_raised_and_when_resolved() {
        let mut alarms = RaisedAlarms::default();
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 0), []);
        assert_eq!(apply_status(&mut alarms, failing(), 1_000), [AlarmNotificationKind::Raised]);
        assert_eq!(apply_status(&mut alarms, failing(), 2_000), []);
        assert_eq!(
            apply_status(&mut alarms, CheckStatus::Passing, 10_000),
            [],
            "not before it has passed for resolve_after_ms"
        );
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 10_000 + RESOLVE_AFTER_MS - 1), []);
        let resolved =
            alarms.apply(vec![check_result("crm", CheckStatus::Passing)], RESOLVE_AFTER_MS, 10_000 + RESOLVE_AFTER_MS);
        assert_eq!(
            (resolved[0].kind, resolved[0].since_ms, resolved[0].text.as_str()),
            (AlarmNotificationKind::Resolved, 1_000, "it is broken")
        );
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 20_000 + RESOLVE_AFTER_MS), []);
    }

    #[test]
    fn nothing_waits_for_a_clock_that_was_set_back() {
        const AHEAD_MS: i64 = 10 * REMINDER_INTERVAL_MS;
        let mut alarms = RaisedAlarms::default();
        apply_status(&mut alarms, failing(), AHEAD_MS);
        assert_eq!(apply_status(&mut alarms, failing(), 0), []);
        assert_eq!(apply_status(&mut alarms, failing(), REMINDER_INTERVAL_MS), [AlarmNotificationKind::Reminder]);
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, AHEAD_MS), []);
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 0), []);
        assert_eq!(
            apply_status(&mut alarms, CheckStatus::Passing, RESOLVE_AFTER_MS),
            [AlarmNotificationKind::Resolved]
        );
    }

    #[test]
    fn a_check_that_flaps_for_a_day_is_one_alarm() {
        let mut alarms = RaisedAlarms::default();
        let statuses = [failing(), CheckStatus::Passing, CheckStatus::Indeterminate];
        let kinds = (0..5_760)
            .flat_map(|at| apply_status(&mut alarms, statuses[at % 3].clone(), i64::try_from(at).unwrap() * 15_000));
        assert_eq!(kinds.collect::<Vec<_>>(), [AlarmNotificationKind::Raised]);
        assert_eq!(apply_status(&mut alarms, failing(), REMINDER_INTERVAL_MS), [AlarmNotificationKind::Reminder]);
        assert_eq!(apply_status(&mut alarms, failing(), REMINDER_INTERVAL_MS + 15_000), []);
    }

    #[test]
    fn indeterminate_changes_nothing_and_an_unchecked_alarm_is_resolved() {
        let mut alarms = RaisedAlarms::default();
        assert_eq!(apply_status(&mut alarms, CheckStatus::Indeterminate, 0), []);
        apply_status(&mut alarms, failing(), 0);
        assert_eq!(apply_status(&mut alarms, CheckStatus::Indeterminate, 10 * RESOLVE_AFTER_MS), []);
        assert_eq!(alarms.raised_kinds(), BTreeSet::from([AlarmKind::BreakerOpen]));
        let resolved = alarms.apply(Vec::new(), RESOLVE_AFTER_MS, 10 * RESOLVE_AFTER_MS + 1);
        assert_eq!(
            resolved.iter().map(|notification| notification.kind).collect::<Vec<_>>(),
            [AlarmNotificationKind::Resolved]
        );
    }

    #[test]
    fn a_restart_reports_nothing_twice() {
        let mut before = RaisedAlarms::default();
        apply_status(&mut before, failing(), 5_000);
        let mut after = RaisedAlarms::default();
        after.restore(before.to_rows());
        assert_eq!(apply_status(&mut after, failing(), 9_000), []);
        assert_eq!(after.to_rows(), before.to_rows());
    }

    #[test]
    fn an_alarm_raised_before_the_store_could_be_read_continues_the_stored_one() {
        let mut before = RaisedAlarms::default();
        apply_status(&mut before, failing(), 5_000);
        let mut after = RaisedAlarms::default();
        assert_eq!(apply_status(&mut after, failing(), 9_000), [AlarmNotificationKind::Raised]);
        after.restore(before.to_rows());
        let [row] = &after.to_rows()[..] else { panic!("{after:?}") };
        assert_eq!((row.since_ms, row.last_notified_ms), (5_000, 9_000));
    }

    #[test]
    fn alarms_are_bounded() {
        let mut alarms = RaisedAlarms::default();
        let many = |status: CheckStatus| {
            (0..500).map(|at| check_result(&format!("{at:03}"), status.clone())).collect::<Vec<_>>()
        };
        assert_eq!(alarms.apply(many(failing()), RESOLVE_AFTER_MS, 0).len(), MAX_RAISED_ALARMS);
        assert_eq!(alarms.apply(many(failing()), RESOLVE_AFTER_MS, 1).len(), 0);
        alarms.apply(many(CheckStatus::Passing), RESOLVE_AFTER_MS, 2);
        assert_eq!(
            alarms.apply(many(CheckStatus::Passing), RESOLVE_AFTER_MS, 2 + RESOLVE_AFTER_MS).len(),
            MAX_RAISED_ALARMS
        );
    }
}
