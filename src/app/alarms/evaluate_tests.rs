use super::super::raised::{AlarmNotificationKind, RaisedAlarms};
use super::*;

const NOW: i64 = 1_795_000_000_000;
const MINUTE: i64 = 60_000;

fn figures() -> AlarmInputs {
    AlarmInputs {
        now_ms: NOW,
        started_at_ms: NOW - 30 * 24 * 60 * MINUTE,
        backlogs: Some(Vec::new()),
        companies: Vec::new(),
        rejected_by_reason: Vec::new(),
        not_stored: 0,
        disk: Some(DiskSpace { free_bytes: 50_000_000_000, total_bytes: 100_000_000_000 }),
        signature_ages: Vec::new(),
    }
}

fn evaluate_all(figures: &AlarmInputs, settings: &AlarmSettings) -> Vec<AlarmCheckResult> {
    evaluate(figures, settings, &|_| vec!["crm".to_owned()])
}

fn check_status(figures: &AlarmInputs, alarm: AlarmKind, subject: &str) -> CheckStatus {
    let judged = evaluate_all(figures, &AlarmSettings::default());
    let found = judged.into_iter().find(|judged| judged.alarm == alarm && judged.subject == subject);
    found.unwrap_or_else(|| panic!("{alarm:?} {subject}")).status
}

fn backlog(change: impl FnOnce(&mut HandlerBacklog)) -> AlarmInputs {
    let mut backlog = HandlerBacklog { handler: "crm".to_owned(), ..HandlerBacklog::default() };
    change(&mut backlog);
    AlarmInputs { backlogs: Some(vec![backlog]), ..figures() }
}

fn is_failing(verdict: &CheckStatus, said: &str) -> bool {
    matches!(verdict, CheckStatus::Failing(text) if text.contains(said))
}

#[test]
fn nothing_is_wrong_with_nothing() {
    let quiet = backlog(|_| ());
    for judged in evaluate_all(&quiet, &AlarmSettings::default()) {
        let known =
            if judged.alarm == AlarmKind::ClockSkew { CheckStatus::Indeterminate } else { CheckStatus::Passing };
        assert_eq!(judged.status, known, "{judged:?}");
    }
}

#[test]
fn what_is_set_to_0_is_not_watched() {
    let seen = ActivityHistory { last_event_at_ms: 0, events_by_hour: [(0, 1)].into() };
    let company =
        CompanyHistory { slug: "acme".to_owned(), history: seen.clone(), agents: vec![("agent_1".to_owned(), seen)] };
    let busy = AlarmInputs { companies: vec![company], ..backlog(|_| ()) };
    assert_eq!(evaluate_all(&busy, &AlarmSettings::default()).len(), 3 + 2 + 4);
    let off = AlarmSettings {
        dead_deliveries: 0,
        oldest_undelivered_ms: 0,
        breaker_open_ms: 0,
        rejected_per_minute: 0,
        not_stored_per_minute: 0,
        silence_baseline_events: 0,
        silence_after_ms: 0,
        disk_free_percent: 0,
        disk_free_bytes: 0,
        clock_skew_ms: 0,
        ..AlarmSettings::default()
    };
    assert_eq!(evaluate_all(&busy, &off), []);
    assert_eq!(evaluate_all(&busy, &AlarmSettings { enabled: false, ..AlarmSettings::default() }), []);
}

#[test]
fn handlers() {
    let dead = |count| check_status(&backlog(|backlog| backlog.recent_dead = count), AlarmKind::DeadDeliveries, "crm");
    assert!(is_failing(&dead(3), "handler `crm` gave up on 3 deliveries within 60 min"), "{:?}", dead(3));
    assert!(is_failing(&dead(1_000), "1000 or more") && dead(0) == CheckStatus::Passing);
    let oldest = |minutes: i64| {
        let waits = backlog(|backlog| {
            (backlog.oldest_waiting_since_ms, backlog.behind, backlog.scheduled) = (Some(NOW - minutes * MINUTE), 2, 1);
        });
        check_status(&waits, AlarmKind::OldestUndelivered, "crm")
    };
    assert!(is_failing(&oldest(15), "for handler `crm` for 15 min: 2 wait for their attempt, 1 for another one"));
    assert_eq!(
        (oldest(14), oldest(8), oldest(7)),
        (CheckStatus::Indeterminate, CheckStatus::Indeterminate, CheckStatus::Passing)
    );
    let breaker = |state, seconds: i64| {
        let open = backlog(|backlog| {
            (backlog.breaker_state, backlog.breaker_since_ms) = (state, Some(NOW - seconds * 1_000));
        });
        check_status(&open, AlarmKind::BreakerOpen, "crm")
    };
    assert_eq!(breaker(BreakerState::Open, 0), CheckStatus::Indeterminate);
    assert!(is_failing(&breaker(BreakerState::HalfOpen, 60), "failing for 60 s"));
    assert_eq!(breaker(BreakerState::Closed, 90), CheckStatus::Passing);
}

#[test]
fn a_store_that_does_not_answer_ends_no_alarm() {
    let unknown = AlarmInputs { backlogs: None, ..figures() };
    assert_eq!(check_status(&unknown, AlarmKind::DeadDeliveries, "crm"), CheckStatus::Indeterminate);
    assert_eq!(check_status(&unknown, AlarmKind::BreakerOpen, "crm"), CheckStatus::Indeterminate);
}

#[test]
fn requests() {
    let refused = |many: u64| {
        let figures = AlarmInputs { rejected_by_reason: vec![("missing", 2), ("no_key_matched", many)], ..figures() };
        check_status(&figures, AlarmKind::RejectedRequests, "")
    };
    assert!(is_failing(
        &refused(28),
        "30 webhook requests were refused within a minute, most of them as `no_key_matched`"
    ));
    assert_eq!((refused(27), refused(13)), (CheckStatus::Indeterminate, CheckStatus::Passing));
    assert!(is_failing(
        &check_status(&AlarmInputs { not_stored: 1, ..figures() }, AlarmKind::NotStored, ""),
        "1 events could not"
    ));
}

#[test]
fn disks() {
    let disk = |free_bytes, total_bytes| {
        check_status(
            &AlarmInputs { disk: Some(DiskSpace { free_bytes, total_bytes }), ..figures() },
            AlarmKind::Disk,
            "",
        )
    };
    let gb = 1_000_000_000;
    assert!(is_failing(&disk(4 * gb, 100 * gb), "only 4.0 GB (4 %) of the disk"));
    assert!(is_failing(&disk(gb - 1, 2 * gb), "only 999 MB"));
    assert_eq!((disk(5 * gb, 100 * gb), disk(gb, 2 * gb)), (CheckStatus::Indeterminate, CheckStatus::Indeterminate));
    assert_eq!((disk(6 * gb, 100 * gb), disk(2 * gb, 3 * gb)), (CheckStatus::Passing, CheckStatus::Passing));
    assert_eq!(check_status(&AlarmInputs { disk: None, ..figures() }, AlarmKind::Disk, ""), CheckStatus::Indeterminate);
}

#[test]
fn clocks() {
    let clock = |ages: &[i64]| {
        let ages = ages.iter().map(|age_ms| SignatureAge { received_at_ms: NOW - 1_000, age_ms: *age_ms }).collect();
        check_status(&AlarmInputs { signature_ages: ages, ..figures() }, AlarmKind::ClockSkew, "")
    };
    assert!(is_failing(&clock(&[200, -90_000, 70_000]), "90 s behind"), "a signature from the future is a proof");
    assert!(is_failing(&clock(&[400_000, 390_000, 500_000]), "6 min ahead"));
    assert_eq!(clock(&[400_000, 390_000]), CheckStatus::Indeterminate, "old requests may be sent again");
    assert_eq!(clock(&[400_000, 400_000, 400_000, 250]), CheckStatus::Passing, "the freshest one tells");
    let old = AlarmInputs {
        signature_ages: vec![SignatureAge { received_at_ms: NOW - 31 * MINUTE, age_ms: -90_000 }],
        ..figures()
    };
    assert_eq!(check_status(&old, AlarmKind::ClockSkew, ""), CheckStatus::Indeterminate);
}

/// Twenty events an hour, day and night, for ten days; silent for so many minutes now.
fn steady(silent_minutes: i64) -> ActivityHistory {
    let last_ms = NOW - silent_minutes * MINUTE;
    let latest = last_ms.div_euclid(silence::HOUR_MS);
    ActivityHistory {
        last_event_at_ms: last_ms,
        events_by_hour: (latest - 240..=latest).map(|hour| (hour, 20)).collect(),
    }
}

fn company(seen: ActivityHistory, agents: &[(&str, ActivityHistory)]) -> AlarmInputs {
    let agents = agents.iter().map(|(id, seen)| ((*id).to_owned(), seen.clone())).collect();
    AlarmInputs { companies: vec![CompanyHistory { slug: "acme".to_owned(), history: seen, agents }], ..figures() }
}

#[test]
fn a_company_is_silent_for_longer_than_usual() {
    let silent = |minutes| check_status(&company(steady(minutes), &[]), AlarmKind::Silence, "acme");
    assert_eq!((silent(20), silent(80)), (CheckStatus::Passing, CheckStatus::Passing));
    assert!(is_failing(&silent(100), "no event of company `acme` for 100 min, while about 33 were to be expected"));
    let restarted = AlarmInputs { started_at_ms: NOW - 5 * MINUTE, ..company(steady(600), &[]) };
    assert_eq!(
        check_status(&restarted, AlarmKind::Silence, "acme"),
        CheckStatus::Indeterminate,
        "while it was down nothing could come"
    );
}

#[test]
fn agents_are_silent_with_their_company_or_alone() {
    let alone = company(steady(1), &[("agent_1", steady(1)), ("agent_2", steady(120))]);
    assert_eq!(check_status(&alone, AlarmKind::Silence, "acme/agent_1"), CheckStatus::Passing);
    assert!(is_failing(&check_status(&alone, AlarmKind::Silence, "acme/agent_2"), "agent `agent_2` of company `acme`"));
    let together = company(steady(120), &[("agent_1", steady(120)), ("agent_2", steady(120))]);
    let said = RaisedAlarms::default().apply(evaluate_all(&together, &AlarmSettings::default()), 0, NOW);
    let subjects: Vec<_> = said.iter().map(|said| (said.subject.as_str(), said.kind)).collect();
    assert_eq!(subjects, [("acme", AlarmNotificationKind::Raised)], "one alarm, not one for each agent");
}

#[test]
fn a_fixed_length_of_silence_needs_no_history() {
    let settings = AlarmSettings { silence_after_ms: 600_000, ..AlarmSettings::default() };
    let seen =
        |minutes: i64| ActivityHistory { last_event_at_ms: NOW - minutes * MINUTE, events_by_hour: [(0, 1)].into() };
    let silence = |minutes, up: i64| {
        let figures =
            AlarmInputs { started_at_ms: NOW - up * MINUTE, ..company(seen(minutes), &[("agent_1", seen(500))]) };
        evaluate_all(&figures, &settings)
            .into_iter()
            .filter(|judged| judged.alarm == AlarmKind::Silence)
            .collect::<Vec<_>>()
    };
    assert!(is_failing(&silence(10, 60)[0].status, "no event of company `acme` for 10 min (alarms.silence_after_ms)"));
    assert_eq!(silence(10, 9)[0].status, CheckStatus::Indeterminate);
    assert!(silence(9, 60).iter().all(|judged| judged.status == CheckStatus::Passing), "agents have no fixed length");
}
