//! Which alarms begin, go on and are over. One word at each end, one a day in between, however often what is wrong comes and
//! goes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::Alarm;
use crate::storage::AlarmRow;

/// Alarms that are on at the same time; further ones wait until there is room.
const MOST: usize = 200;
/// One that goes on is said again after so long.
const REMINDER_MS: i64 = 24 * 3_600_000;

/// What was found out about one thing that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) alarm: Alarm,
    /// The handler, company or agent; empty when there is only one.
    pub(super) subject: String,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something is wrong; the text says what, and what to do.
    Wrong(String),
    Fine,
    /// Neither clearly: an alarm that is on stays on, one that is off stays off.
    Unclear,
}

/// An alarm that is worth a word now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) alarm: Alarm,
    pub(super) subject: String,
    pub(super) since_ms: i64,
    pub(super) text: String,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Begins,
    GoesOn,
    IsOver,
}

/// The alarms that are on.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeMap<(Alarm, String), On>);

#[derive(Debug)]
struct On {
    since_ms: i64,
    told_ms: i64,
    text: String,
    /// Since when nothing is wrong any more.
    fine_since_ms: Option<i64>,
}

impl Alarms {
    /// Those that were on when the receiver stopped: they are not said once more.
    pub(super) fn of(rows: Vec<AlarmRow>) -> Self {
        let known = |row: AlarmRow| {
            let on = On { since_ms: row.since_ms, told_ms: row.told_ms, text: row.text, fine_since_ms: None };
            Some(((Alarm::from_name(&row.alarm)?, row.subject), on))
        };
        Self(rows.into_iter().filter_map(known).collect())
    }

    pub(super) fn rows(&self) -> Vec<AlarmRow> {
        let row = |((alarm, subject), on): (&(Alarm, String), &On)| AlarmRow {
            alarm: alarm.as_str().to_owned(),
            subject: subject.clone(),
            since_ms: on.since_ms,
            told_ms: on.told_ms,
            text: on.text.clone(),
        };
        self.0.iter().map(row).collect()
    }

    /// The kinds of which one is on.
    pub(super) fn kinds(&self) -> BTreeSet<Alarm> {
        self.0.keys().map(|(alarm, _)| *alarm).collect()
    }

    /// Takes in what was found out by one look. What is on and was not looked at is over: nobody watches it any more.
    pub(super) fn look(&mut self, judged: Vec<Judged>, calm_ms: i64, now_ms: i64) -> Vec<Said> {
        let mut said = Vec::new();
        let mut seen = BTreeSet::new();
        for Judged { alarm, subject, verdict } in judged {
            let key = (alarm, subject);
            said.extend(match verdict {
                Verdict::Wrong(text) => self.wrong(&key, text, now_ms),
                Verdict::Fine => self.fine(&key, calm_ms, now_ms),
                Verdict::Unclear => None,
            });
            seen.insert(key);
        }
        let unwatched: Vec<_> = self.0.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        said.extend(unwatched.iter().filter_map(|key| self.over(key)));
        said
    }

    fn wrong(&mut self, key: &(Alarm, String), text: String, now_ms: i64) -> Option<Said> {
        let Some(on) = self.0.get_mut(key) else {
            if self.0.len() >= MOST {
                return None;
            }
            let on = On { since_ms: now_ms, told_ms: now_ms, text, fine_since_ms: None };
            let said = on.said(key, What::Begins);
            self.0.insert(key.clone(), on);
            return Some(said);
        };
        on.text = text;
        on.fine_since_ms = None;
        if now_ms.saturating_sub(on.told_ms) < REMINDER_MS {
            return None;
        }
        on.told_ms = now_ms;
        Some(on.said(key, What::GoesOn))
    }

    fn fine(&mut self, key: &(Alarm, String), calm_ms: i64, now_ms: i64) -> Option<Said> {
        let on = self.0.get_mut(key)?;
        let since_ms = *on.fine_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since_ms) < calm_ms { None } else { self.over(key) }
    }

    fn over(&mut self, key: &(Alarm, String)) -> Option<Said> {
        self.0.remove(key).map(|on| on.said(key, What::IsOver))
    }
}

impl On {
    fn said(&self, (alarm, subject): &(Alarm, String), what: What) -> Said {
        Said { alarm: *alarm, subject: subject.clone(), since_ms: self.since_ms, text: self.text.clone(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: i64 = 300_000;

    fn judged(subject: &str, verdict: Verdict) -> Judged {
        Judged { alarm: Alarm::BreakerOpen, subject: subject.to_owned(), verdict }
    }

    fn wrong() -> Verdict {
        Verdict::Wrong("it is broken".to_owned())
    }

    fn look(alarms: &mut Alarms, verdict: Verdict, now_ms: i64) -> Vec<What> {
        alarms.look(vec![judged("crm", verdict)], CALM, now_ms).into_iter().map(|said| said.what).collect()
    }

    #[test]
    fn one_word_when_it_begins_and_one_when_it_is_over() {
        let mut alarms = Alarms::default();
        assert_eq!(look(&mut alarms, Verdict::Fine, 0), []);
        assert_eq!(look(&mut alarms, wrong(), 1_000), [What::Begins]);
        assert_eq!(look(&mut alarms, wrong(), 2_000), []);
        assert_eq!(look(&mut alarms, Verdict::Fine, 10_000), [], "not before it was calm for a while");
        assert_eq!(look(&mut alarms, Verdict::Fine, 10_000 + CALM - 1), []);
        let over = alarms.look(vec![judged("crm", Verdict::Fine)], CALM, 10_000 + CALM);
        assert_eq!((over[0].what, over[0].since_ms, over[0].text.as_str()), (What::IsOver, 1_000, "it is broken"));
        assert_eq!(look(&mut alarms, Verdict::Fine, 20_000 + CALM), []);
    }

    #[test]
    fn what_comes_and_goes_for_a_day_is_one_alarm() {
        let mut alarms = Alarms::default();
        let verdicts = [wrong(), Verdict::Fine, Verdict::Unclear];
        let said =
            (0..5_760).flat_map(|at| look(&mut alarms, verdicts[at % 3].clone(), i64::try_from(at).unwrap() * 15_000));
        assert_eq!(said.collect::<Vec<_>>(), [What::Begins]);
        assert_eq!(look(&mut alarms, wrong(), REMINDER_MS), [What::GoesOn]);
        assert_eq!(look(&mut alarms, wrong(), REMINDER_MS + 15_000), []);
    }

    #[test]
    fn unclear_changes_nothing_and_what_is_not_watched_is_over() {
        let mut alarms = Alarms::default();
        assert_eq!(look(&mut alarms, Verdict::Unclear, 0), []);
        look(&mut alarms, wrong(), 0);
        assert_eq!(look(&mut alarms, Verdict::Unclear, 10 * CALM), []);
        assert_eq!(alarms.kinds(), BTreeSet::from([Alarm::BreakerOpen]));
        let over = alarms.look(Vec::new(), CALM, 10 * CALM + 1);
        assert_eq!(over.iter().map(|said| said.what).collect::<Vec<_>>(), [What::IsOver]);
    }

    #[test]
    fn a_restart_tells_nothing_twice() {
        let mut before = Alarms::default();
        look(&mut before, wrong(), 5_000);
        let mut after = Alarms::of(before.rows());
        assert_eq!(look(&mut after, wrong(), 9_000), []);
        assert_eq!(after.rows(), before.rows());
        let strange = AlarmRow { alarm: "from_a_newer_version".to_owned(), ..before.rows()[0].clone() };
        assert_eq!(Alarms::of(vec![strange]).rows(), []);
    }

    #[test]
    fn alarms_are_bounded() {
        let mut alarms = Alarms::default();
        let many =
            |verdict: Verdict| (0..500).map(|at| judged(&format!("{at:03}"), verdict.clone())).collect::<Vec<_>>();
        assert_eq!(alarms.look(many(wrong()), CALM, 0).len(), MOST);
        assert_eq!(alarms.look(many(wrong()), CALM, 1).len(), 0);
        alarms.look(many(Verdict::Fine), CALM, 2);
        assert_eq!(alarms.look(many(Verdict::Fine), CALM, 2 + CALM).len(), MOST);
    }
}
