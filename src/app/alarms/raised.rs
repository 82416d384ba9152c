//! Which alarms begin, go on and are over. One word at each end, one a day in between, however often what is wrong comes and
//! goes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::AlarmKind;
use crate::storage::AlarmRow;

/// Alarms that are on at the same time; further ones wait until there is room.
const MAX_RAISED_ALARMS: usize = 200;
/// One that goes on is said again after so long.
const REMINDER_INTERVAL_MS: i64 = 24 * 3_600_000;

/// What was found out about one thing that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AlarmCheckResult {
    pub(super) alarm: AlarmKind,
    /// The handler, company or agent; empty when there is only one.
    pub(super) subject: String,
    pub(super) status: CheckStatus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckStatus {
    /// Something is wrong; the text says what, and what to do.
    Failing(String),
    Passing,
    /// Neither clearly: an alarm that is on stays on, one that is off stays off.
    Indeterminate,
}

/// An alarm that is worth a word now.
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

/// The alarms that are on.
#[derive(Debug, Default)]
pub(super) struct RaisedAlarms(BTreeMap<(AlarmKind, String), RaisedAlarm>);

#[derive(Debug)]
struct RaisedAlarm {
    since_ms: i64,
    last_notified_ms: i64,
    text: String,
    /// Since when nothing is wrong any more.
    passing_since_ms: Option<i64>,
}

impl RaisedAlarms {
    /// Those that were on when the receiver stopped: they are not said once more.
    pub(super) fn from_rows(rows: Vec<AlarmRow>) -> Self {
        let known = |row: AlarmRow| {
            let on = RaisedAlarm {
                since_ms: row.since_ms,
                last_notified_ms: row.last_notified_ms,
                text: row.text,
                passing_since_ms: None,
            };
            Some(((AlarmKind::from_name(&row.kind)?, row.subject), on))
        };
        Self(rows.into_iter().filter_map(known).collect())
    }

    pub(super) fn to_rows(&self) -> Vec<AlarmRow> {
        let row = |((alarm, subject), on): (&(AlarmKind, String), &RaisedAlarm)| AlarmRow {
            kind: alarm.as_str().to_owned(),
            subject: subject.clone(),
            since_ms: on.since_ms,
            last_notified_ms: on.last_notified_ms,
            text: on.text.clone(),
        };
        self.0.iter().map(row).collect()
    }

    /// The kinds of which one is on.
    pub(super) fn raised_kinds(&self) -> BTreeSet<AlarmKind> {
        self.0.keys().map(|(alarm, _)| *alarm).collect()
    }

    /// Takes in what was found out by one look. What is on and was not looked at is over: nobody watches it any more.
    pub(super) fn apply(
        &mut self,
        judged: Vec<AlarmCheckResult>,
        resolve_after_ms: i64,
        now_ms: i64,
    ) -> Vec<AlarmNotification> {
        let mut said = Vec::new();
        let mut seen = BTreeSet::new();
        for AlarmCheckResult { alarm, subject, status: verdict } in judged {
            let key = (alarm, subject);
            said.extend(match verdict {
                CheckStatus::Failing(text) => self.raise(&key, text, now_ms),
                CheckStatus::Passing => self.record_passing(&key, resolve_after_ms, now_ms),
                CheckStatus::Indeterminate => None,
            });
            seen.insert(key);
        }
        let unwatched: Vec<_> = self.0.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        said.extend(unwatched.iter().filter_map(|key| self.resolve(key)));
        said
    }

    fn raise(&mut self, key: &(AlarmKind, String), text: String, now_ms: i64) -> Option<AlarmNotification> {
        let Some(on) = self.0.get_mut(key) else {
            if self.0.len() >= MAX_RAISED_ALARMS {
                return None;
            }
            let on = RaisedAlarm { since_ms: now_ms, last_notified_ms: now_ms, text, passing_since_ms: None };
            let said = on.notification(key, AlarmNotificationKind::Raised);
            self.0.insert(key.clone(), on);
            return Some(said);
        };
        on.text = text;
        on.passing_since_ms = None;
        if now_ms.saturating_sub(on.last_notified_ms) < REMINDER_INTERVAL_MS {
            return None;
        }
        on.last_notified_ms = now_ms;
        Some(on.notification(key, AlarmNotificationKind::Reminder))
    }

    fn record_passing(
        &mut self,
        key: &(AlarmKind, String),
        resolve_after_ms: i64,
        now_ms: i64,
    ) -> Option<AlarmNotification> {
        let on = self.0.get_mut(key)?;
        let since_ms = *on.passing_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since_ms) < resolve_after_ms { None } else { self.resolve(key) }
    }

    fn resolve(&mut self, key: &(AlarmKind, String)) -> Option<AlarmNotification> {
        self.0.remove(key).map(|on| on.notification(key, AlarmNotificationKind::Resolved))
    }
}

impl RaisedAlarm {
    fn notification(&self, (alarm, subject): &(AlarmKind, String), what: AlarmNotificationKind) -> AlarmNotification {
        AlarmNotification {
            alarm: *alarm,
            subject: subject.clone(),
            since_ms: self.since_ms,
            text: self.text.clone(),
            kind: what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLVE_AFTER_MS: i64 = 300_000;

    fn check_result(subject: &str, verdict: CheckStatus) -> AlarmCheckResult {
        AlarmCheckResult { alarm: AlarmKind::BreakerOpen, subject: subject.to_owned(), status: verdict }
    }

    fn failing() -> CheckStatus {
        CheckStatus::Failing("it is broken".to_owned())
    }

    fn apply_status(alarms: &mut RaisedAlarms, verdict: CheckStatus, now_ms: i64) -> Vec<AlarmNotificationKind> {
        alarms
            .apply(vec![check_result("crm", verdict)], RESOLVE_AFTER_MS, now_ms)
            .into_iter()
            .map(|said| said.kind)
            .collect()
    }

    #[test]
    fn one_word_when_it_begins_and_one_when_it_is_over() {
        let mut alarms = RaisedAlarms::default();
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 0), []);
        assert_eq!(apply_status(&mut alarms, failing(), 1_000), [AlarmNotificationKind::Raised]);
        assert_eq!(apply_status(&mut alarms, failing(), 2_000), []);
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 10_000), [], "not before it was calm for a while");
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 10_000 + RESOLVE_AFTER_MS - 1), []);
        let over =
            alarms.apply(vec![check_result("crm", CheckStatus::Passing)], RESOLVE_AFTER_MS, 10_000 + RESOLVE_AFTER_MS);
        assert_eq!(
            (over[0].kind, over[0].since_ms, over[0].text.as_str()),
            (AlarmNotificationKind::Resolved, 1_000, "it is broken")
        );
        assert_eq!(apply_status(&mut alarms, CheckStatus::Passing, 20_000 + RESOLVE_AFTER_MS), []);
    }

    #[test]
    fn what_comes_and_goes_for_a_day_is_one_alarm() {
        let mut alarms = RaisedAlarms::default();
        let verdicts = [failing(), CheckStatus::Passing, CheckStatus::Indeterminate];
        let said = (0..5_760)
            .flat_map(|at| apply_status(&mut alarms, verdicts[at % 3].clone(), i64::try_from(at).unwrap() * 15_000));
        assert_eq!(said.collect::<Vec<_>>(), [AlarmNotificationKind::Raised]);
        assert_eq!(apply_status(&mut alarms, failing(), REMINDER_INTERVAL_MS), [AlarmNotificationKind::Reminder]);
        assert_eq!(apply_status(&mut alarms, failing(), REMINDER_INTERVAL_MS + 15_000), []);
    }

    #[test]
    fn unclear_changes_nothing_and_what_is_not_watched_is_over() {
        let mut alarms = RaisedAlarms::default();
        assert_eq!(apply_status(&mut alarms, CheckStatus::Indeterminate, 0), []);
        apply_status(&mut alarms, failing(), 0);
        assert_eq!(apply_status(&mut alarms, CheckStatus::Indeterminate, 10 * RESOLVE_AFTER_MS), []);
        assert_eq!(alarms.raised_kinds(), BTreeSet::from([AlarmKind::BreakerOpen]));
        let over = alarms.apply(Vec::new(), RESOLVE_AFTER_MS, 10 * RESOLVE_AFTER_MS + 1);
        assert_eq!(over.iter().map(|said| said.kind).collect::<Vec<_>>(), [AlarmNotificationKind::Resolved]);
    }

    #[test]
    fn a_restart_tells_nothing_twice() {
        let mut before = RaisedAlarms::default();
        apply_status(&mut before, failing(), 5_000);
        let mut after = RaisedAlarms::from_rows(before.to_rows());
        assert_eq!(apply_status(&mut after, failing(), 9_000), []);
        assert_eq!(after.to_rows(), before.to_rows());
        let strange = AlarmRow { kind: "from_a_newer_version".to_owned(), ..before.to_rows()[0].clone() };
        assert_eq!(RaisedAlarms::from_rows(vec![strange]).to_rows(), []);
    }

    #[test]
    fn alarms_are_bounded() {
        let mut alarms = RaisedAlarms::default();
        let many = |verdict: CheckStatus| {
            (0..500).map(|at| check_result(&format!("{at:03}"), verdict.clone())).collect::<Vec<_>>()
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
