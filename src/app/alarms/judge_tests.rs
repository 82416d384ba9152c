use super::super::state::{Alarms, What};
use super::*;

const NOW: i64 = 1_795_000_000_000;
const MINUTE: i64 = 60_000;

fn figures() -> Figures {
    Figures {
        now_ms: NOW,
        started_at_ms: NOW - 30 * 24 * 60 * MINUTE,
        handlers: Some(Vec::new()),
        companies: Vec::new(),
        refused: Vec::new(),
        not_stored: 0,
        disk: Some(DiskSpace { free_bytes: 50_000_000_000, total_bytes: 100_000_000_000 }),
        ages: Vec::new(),
    }
}

fn all(figures: &Figures, settings: &AlarmSettings) -> Vec<Judged> {
    judge(figures, settings, &|_| vec!["crm".to_owned()])
}

fn verdict(figures: &Figures, alarm: Alarm, subject: &str) -> Verdict {
    let judged = all(figures, &AlarmSettings::default());
    let found = judged.into_iter().find(|judged| judged.alarm == alarm && judged.subject == subject);
    found.unwrap_or_else(|| panic!("{alarm:?} {subject}")).verdict
}

fn backlog(change: impl FnOnce(&mut Backlog)) -> Figures {
    let mut backlog = Backlog { handler: "crm".to_owned(), ..Backlog::default() };
    change(&mut backlog);
    Figures { handlers: Some(vec![backlog]), ..figures() }
}

fn is_wrong(verdict: &Verdict, said: &str) -> bool {
    matches!(verdict, Verdict::Wrong(text) if text.contains(said))
}

#[test]
fn nothing_is_wrong_with_nothing() {
    let quiet = backlog(|_| ());
    for judged in all(&quiet, &AlarmSettings::default()) {
        let known = if judged.alarm == Alarm::ClockSkew { Verdict::Unclear } else { Verdict::Fine };
        assert_eq!(judged.verdict, known, "{judged:?}");
    }
}

#[test]
fn what_is_set_to_0_is_not_watched() {
    let seen = Seen { last_ms: 0, hours: [(0, 1)].into() };
    let company = Watched { slug: "acme".to_owned(), seen: seen.clone(), agents: vec![("agent_1".to_owned(), seen)] };
    let busy = Figures { companies: vec![company], ..backlog(|_| ()) };
    assert_eq!(all(&busy, &AlarmSettings::default()).len(), 3 + 2 + 4);
    let off = AlarmSettings {
        dead_deliveries: 0,
        oldest_undelivered_ms: 0,
        breaker_open_ms: 0,
        refused_per_minute: 0,
        not_stored_per_minute: 0,
        silence_events: 0,
        silence_ms: 0,
        disk_free_percent: 0,
        disk_free_bytes: 0,
        clock_skew_ms: 0,
        ..AlarmSettings::default()
    };
    assert_eq!(all(&busy, &off), []);
    assert_eq!(all(&busy, &AlarmSettings { enabled: false, ..AlarmSettings::default() }), []);
}

#[test]
fn handlers() {
    let dead = |count| verdict(&backlog(|backlog| backlog.dead_lately = count), Alarm::DeadDeliveries, "crm");
    assert!(is_wrong(&dead(3), "handler `crm` gave up on 3 deliveries within 60 min"), "{:?}", dead(3));
    assert!(is_wrong(&dead(1_000), "1000 or more") && dead(0) == Verdict::Fine);
    let oldest = |minutes: i64| {
        let waits = backlog(|backlog| {
            (backlog.oldest_ms, backlog.behind, backlog.scheduled) = (Some(NOW - minutes * MINUTE), 2, 1);
        });
        verdict(&waits, Alarm::OldestUndelivered, "crm")
    };
    assert!(is_wrong(&oldest(15), "for handler `crm` for 15 min: 2 wait for their attempt, 1 for another one"));
    assert_eq!((oldest(14), oldest(8), oldest(7)), (Verdict::Unclear, Verdict::Unclear, Verdict::Fine));
    let breaker = |state, seconds: i64| {
        let open = backlog(|backlog| {
            (backlog.breaker, backlog.breaker_since_ms) = (state, Some(NOW - seconds * 1_000));
        });
        verdict(&open, Alarm::BreakerOpen, "crm")
    };
    assert_eq!(breaker(BreakerState::Open, 0), Verdict::Unclear);
    assert!(is_wrong(&breaker(BreakerState::HalfOpen, 60), "failing for 60 s"));
    assert_eq!(breaker(BreakerState::Closed, 90), Verdict::Fine);
}

#[test]
fn a_store_that_does_not_answer_ends_no_alarm() {
    let unknown = Figures { handlers: None, ..figures() };
    assert_eq!(verdict(&unknown, Alarm::DeadDeliveries, "crm"), Verdict::Unclear);
    assert_eq!(verdict(&unknown, Alarm::BreakerOpen, "crm"), Verdict::Unclear);
}

#[test]
fn requests() {
    let refused = |many: u64| {
        let figures = Figures { refused: vec![("missing", 2), ("no_key_matched", many)], ..figures() };
        verdict(&figures, Alarm::Refused, "")
    };
    assert!(is_wrong(
        &refused(28),
        "30 webhook requests were refused within a minute, most of them as `no_key_matched`"
    ));
    assert_eq!((refused(27), refused(13)), (Verdict::Unclear, Verdict::Fine));
    assert!(is_wrong(&verdict(&Figures { not_stored: 1, ..figures() }, Alarm::NotStored, ""), "1 events could not"));
}

#[test]
fn disks() {
    let disk = |free_bytes, total_bytes| {
        verdict(&Figures { disk: Some(DiskSpace { free_bytes, total_bytes }), ..figures() }, Alarm::Disk, "")
    };
    let gb = 1_000_000_000;
    assert!(is_wrong(&disk(4 * gb, 100 * gb), "only 4.0 GB (4 %) of the disk"));
    assert!(is_wrong(&disk(gb - 1, 2 * gb), "only 999 MB"));
    assert_eq!((disk(5 * gb, 100 * gb), disk(gb, 2 * gb)), (Verdict::Unclear, Verdict::Unclear));
    assert_eq!((disk(6 * gb, 100 * gb), disk(2 * gb, 3 * gb)), (Verdict::Fine, Verdict::Fine));
    assert_eq!(verdict(&Figures { disk: None, ..figures() }, Alarm::Disk, ""), Verdict::Unclear);
}

#[test]
fn clocks() {
    let clock = |ages: &[i64]| {
        let ages = ages.iter().map(|age_ms| Age { at_ms: NOW - 1_000, age_ms: *age_ms }).collect();
        verdict(&Figures { ages, ..figures() }, Alarm::ClockSkew, "")
    };
    assert!(is_wrong(&clock(&[200, -90_000, 70_000]), "90 s behind"), "a signature from the future is a proof");
    assert!(is_wrong(&clock(&[400_000, 390_000, 500_000]), "6 min ahead"));
    assert_eq!(clock(&[400_000, 390_000]), Verdict::Unclear, "old requests may be sent again");
    assert_eq!(clock(&[400_000, 400_000, 400_000, 250]), Verdict::Fine, "the freshest one tells");
    let old = Figures { ages: vec![Age { at_ms: NOW - 31 * MINUTE, age_ms: -90_000 }], ..figures() };
    assert_eq!(verdict(&old, Alarm::ClockSkew, ""), Verdict::Unclear);
}

/// Twenty events an hour, day and night, for ten days; silent for so many minutes now.
fn steady(silent_minutes: i64) -> Seen {
    let last_ms = NOW - silent_minutes * MINUTE;
    let latest = last_ms.div_euclid(silence::HOUR_MS);
    Seen { last_ms, hours: (latest - 240..=latest).map(|hour| (hour, 20)).collect() }
}

fn company(seen: Seen, agents: &[(&str, Seen)]) -> Figures {
    let agents = agents.iter().map(|(id, seen)| ((*id).to_owned(), seen.clone())).collect();
    Figures { companies: vec![Watched { slug: "acme".to_owned(), seen, agents }], ..figures() }
}

#[test]
fn a_company_is_silent_for_longer_than_usual() {
    let silent = |minutes| verdict(&company(steady(minutes), &[]), Alarm::Silence, "acme");
    assert_eq!((silent(20), silent(80)), (Verdict::Fine, Verdict::Fine));
    assert!(is_wrong(&silent(100), "no event of company `acme` for 100 min, while about 33 were to be expected"));
    let restarted = Figures { started_at_ms: NOW - 5 * MINUTE, ..company(steady(600), &[]) };
    assert_eq!(verdict(&restarted, Alarm::Silence, "acme"), Verdict::Unclear, "while it was down nothing could come");
}

#[test]
fn agents_are_silent_with_their_company_or_alone() {
    let alone = company(steady(1), &[("agent_1", steady(1)), ("agent_2", steady(120))]);
    assert_eq!(verdict(&alone, Alarm::Silence, "acme/agent_1"), Verdict::Fine);
    assert!(is_wrong(&verdict(&alone, Alarm::Silence, "acme/agent_2"), "agent `agent_2` of company `acme`"));
    let together = company(steady(120), &[("agent_1", steady(120)), ("agent_2", steady(120))]);
    let said = Alarms::default().look(all(&together, &AlarmSettings::default()), 0, NOW);
    let subjects: Vec<_> = said.iter().map(|said| (said.subject.as_str(), said.what)).collect();
    assert_eq!(subjects, [("acme", What::Begins)], "one alarm, not one for each agent");
}

#[test]
fn a_fixed_length_of_silence_needs_no_history() {
    let settings = AlarmSettings { silence_ms: 600_000, ..AlarmSettings::default() };
    let seen = |minutes: i64| Seen { last_ms: NOW - minutes * MINUTE, hours: [(0, 1)].into() };
    let silence = |minutes, up: i64| {
        let figures = Figures { started_at_ms: NOW - up * MINUTE, ..company(seen(minutes), &[("agent_1", seen(500))]) };
        all(&figures, &settings).into_iter().filter(|judged| judged.alarm == Alarm::Silence).collect::<Vec<_>>()
    };
    assert!(is_wrong(&silence(10, 60)[0].verdict, "no event of company `acme` for 10 min (alarms.silence_ms)"));
    assert_eq!(silence(10, 9)[0].verdict, Verdict::Unclear);
    assert!(silence(9, 60).iter().all(|judged| judged.verdict == Verdict::Fine), "agents have no fixed length");
}
