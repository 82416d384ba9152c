use std::time::Duration;

use super::*;
use crate::alarms::raised::{AlarmNotificationKind, RaisedAlarms};

const NOW: i64 = 1_795_000_000_000;
const MINUTE: i64 = 60_000;

fn healthy_inputs() -> AlarmInputs {
    AlarmInputs {
        now_ms: NOW,
        started_at_ms: NOW - 30 * 24 * 60 * MINUTE,
        backlogs: Some(Vec::new()),
        companies: Vec::new(),
        rejected_by_reason: Vec::new(),
        not_stored: 0,
        disk: Some(DiskSpace { free_bytes: 50_000_000_000, total_bytes: 100_000_000_000 }),
        signature_ages: Vec::new(),
        file_difference: None,
    }
}

fn evaluate_all(inputs: &AlarmInputs, settings: &AlarmSettings) -> Vec<AlarmCheckResult> {
    evaluate(inputs, settings, &|_| vec!["crm".to_owned()])
}

fn check_status(inputs: &AlarmInputs, alarm: AlarmKind, subject: &str) -> CheckStatus {
    let results = evaluate_all(inputs, &AlarmSettings::default());
    let result = results.into_iter().find(|result| result.alarm == alarm && result.subject == subject);
    result.unwrap_or_else(|| panic!("{alarm:?} {subject}")).status
}

fn backlog(change: impl FnOnce(&mut HandlerBacklog)) -> AlarmInputs {
    let mut backlog = HandlerBacklog { handler: "crm".to_owned(), ..HandlerBacklog::default() };
    change(&mut backlog);
    AlarmInputs { backlogs: Some(vec![backlog]), ..healthy_inputs() }
}

fn is_failing(status: &CheckStatus, expected_text: &str) -> bool {
    matches!(status, CheckStatus::Failing(text) if text.contains(expected_text))
}

#[test]
fn a_healthy_receiver_raises_no_alarm() {
    let quiet = backlog(|_| ());
    for result in evaluate_all(&quiet, &AlarmSettings::default()) {
        let expected =
            if result.alarm == AlarmKind::ClockSkew { CheckStatus::Indeterminate } else { CheckStatus::Passing };
        assert_eq!(result.status, expected, "{result:?}");
    }
}

#[test]
fn a_limit_of_0_turns_its_check_off() {
    let history = ActivityHistory { last_event_at_ms: 0, events_by_hour: [(0, 1)].into() };
    let company = CompanyHistory {
        slug: "acme".to_owned(),
        history: history.clone(),
        agents: vec![("agent_1".to_owned(), history)],
    };
    let busy = AlarmInputs { companies: vec![company], ..backlog(|_| ()) };
    assert_eq!(evaluate_all(&busy, &AlarmSettings::default()).len(), 3 + 2 + 5);
    let off = AlarmSettings {
        dead_deliveries: 0,
        oldest_undelivered: Duration::ZERO,
        breaker_open: Duration::ZERO,
        rejected_per_minute: 0,
        not_stored_per_minute: 0,
        silence_baseline_events: 0,
        silence_after: Duration::ZERO,
        disk_free_percent: 0,
        disk_free_bytes: 0,
        clock_skew: Duration::ZERO,
        ..AlarmSettings::default()
    };
    // Files that differ have no limit.
    let left: Vec<_> = evaluate_all(&busy, &off).into_iter().map(|result| result.alarm).collect();
    assert_eq!(left, [AlarmKind::StoreFiles]);
    assert_eq!(evaluate_all(&busy, &AlarmSettings { enabled: false, ..AlarmSettings::default() }), []);
}

#[test]
fn the_text_of_store_files_is_that_of_the_store() {
    let differing = AlarmInputs { file_difference: Some("events.db was deleted".to_owned()), ..healthy_inputs() };
    assert!(is_failing(&check_status(&differing, AlarmKind::StoreFiles, ""), "events.db was deleted"));
}

#[test]
fn handler_checks() {
    let dead = |count| check_status(&backlog(|backlog| backlog.recent_dead = count), AlarmKind::DeadDeliveries, "crm");
    assert!(is_failing(&dead(3), "handler `crm` gave up on 3 deliveries within 60 min"), "{:?}", dead(3));
    assert!(is_failing(&dead(1_000), "1000 or more") && dead(0) == CheckStatus::Passing);
    let oldest = |minutes: i64| {
        let waits = backlog(|backlog| {
            (backlog.oldest_waiting_since_ms, backlog.behind, backlog.scheduled) = (Some(NOW - minutes * MINUTE), 2, 1);
        });
        check_status(&waits, AlarmKind::OldestUndelivered, "crm")
    };
    assert!(is_failing(
        &oldest(15),
        "for handler `crm` has been waiting for 15 min: 2 wait for their first attempt, 1 for a retry"
    ));
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
fn an_unavailable_store_resolves_no_alarm() {
    let unknown = AlarmInputs { backlogs: None, ..healthy_inputs() };
    assert_eq!(check_status(&unknown, AlarmKind::DeadDeliveries, "crm"), CheckStatus::Indeterminate);
    assert_eq!(check_status(&unknown, AlarmKind::BreakerOpen, "crm"), CheckStatus::Indeterminate);
}

#[test]
fn request_checks() {
    let rejected = |count: u64| {
        let inputs = AlarmInputs {
            rejected_by_reason: vec![(RejectionReason::Missing, 2), (RejectionReason::NoKeyMatched, count)],
            ..healthy_inputs()
        };
        check_status(&inputs, AlarmKind::RejectedRequests, "")
    };
    assert!(is_failing(
        &rejected(28),
        "30 webhook requests were rejected within a minute, most of them with reason `no_key_matched`"
    ));
    assert_eq!((rejected(27), rejected(13)), (CheckStatus::Indeterminate, CheckStatus::Passing));
    assert!(is_failing(
        &check_status(&AlarmInputs { not_stored: 1, ..healthy_inputs() }, AlarmKind::NotStored, ""),
        "1 events of the last minute could not"
    ));
}

#[test]
fn disk_checks() {
    let disk = |free_bytes, total_bytes| {
        check_status(
            &AlarmInputs { disk: Some(DiskSpace { free_bytes, total_bytes }), ..healthy_inputs() },
            AlarmKind::Disk,
            "",
        )
    };
    let gb = 1_000_000_000;
    assert!(is_failing(&disk(4 * gb, 100 * gb), "only 4.0 GB (4 %) of the disk"));
    assert!(is_failing(&disk(gb - 1, 2 * gb), "only 999 MB"));
    assert_eq!((disk(5 * gb, 100 * gb), disk(gb, 2 * gb)), (CheckStatus::Indeterminate, CheckStatus::Indeterminate));
    assert_eq!((disk(6 * gb, 100 * gb), disk(2 * gb, 3 * gb)), (CheckStatus::Passing, CheckStatus::Passing));
    assert_eq!(
        check_status(&AlarmInputs { disk: None, ..healthy_inputs() }, AlarmKind::Disk, ""),
        CheckStatus::Indeterminate
    );
}

#[test]
fn clock_checks() {
    let clock = |ages: &[i64]| {
        let ages = ages.iter().map(|age_ms| SignatureAge { received_at_ms: NOW - 1_000, age_ms: *age_ms }).collect();
        check_status(&AlarmInputs { signature_ages: ages, ..healthy_inputs() }, AlarmKind::ClockSkew, "")
    };
    assert!(is_failing(&clock(&[200, -90_000, 70_000]), "90 s behind"), "a signature from the future proves it");
    assert!(is_failing(&clock(&[400_000, 390_000, 500_000]), "6 min ahead"));
    assert_eq!(clock(&[400_000, 390_000]), CheckStatus::Indeterminate, "two may be old requests that are sent again");
    assert_eq!(clock(&[400_000, 400_000, 400_000, 250]), CheckStatus::Passing, "the freshest one decides");
    let old = AlarmInputs {
        signature_ages: vec![SignatureAge { received_at_ms: NOW - 31 * MINUTE, age_ms: -90_000 }],
        ..healthy_inputs()
    };
    assert_eq!(check_status(&old, AlarmKind::ClockSkew, ""), CheckStatus::Indeterminate);
}

/// Twenty events per hour, day and night, for ten days, then silence for `silent_minutes`.
fn steady(silent_minutes: i64) -> ActivityHistory {
    let last_ms = NOW - silent_minutes * MINUTE;
    let latest = last_ms.div_euclid(silence::HOUR_MS);
    ActivityHistory {
        last_event_at_ms: last_ms,
        events_by_hour: (latest - 240..=latest).map(|hour| (hour, 20)).collect(),
    }
}

fn company(history: ActivityHistory, agents: &[(&str, ActivityHistory)]) -> AlarmInputs {
    let agents = agents.iter().map(|(id, history)| ((*id).to_owned(), history.clone())).collect();
    AlarmInputs { companies: vec![CompanyHistory { slug: "acme".to_owned(), history, agents }], ..healthy_inputs() }
}

#[test]
fn a_company_that_is_silent_for_longer_than_usual_fails() {
    let silent = |minutes| check_status(&company(steady(minutes), &[]), AlarmKind::Silence, "acme");
    assert_eq!((silent(20), silent(80)), (CheckStatus::Passing, CheckStatus::Passing));
    assert!(is_failing(&silent(100), "no event from company `acme` for 100 min, while about 33 were expected"));
    let restarted = AlarmInputs { started_at_ms: NOW - 5 * MINUTE, ..company(steady(600), &[]) };
    assert_eq!(
        check_status(&restarted, AlarmKind::Silence, "acme"),
        CheckStatus::Indeterminate,
        "no event could arrive while the receiver was down"
    );
}

#[test]
fn a_silent_company_hides_its_silent_agents() {
    let alone = company(steady(1), &[("agent_1", steady(1)), ("agent_2", steady(120))]);
    assert_eq!(check_status(&alone, AlarmKind::Silence, "acme/agent_1"), CheckStatus::Passing);
    assert!(is_failing(&check_status(&alone, AlarmKind::Silence, "acme/agent_2"), "agent `agent_2` of company `acme`"));
    let together = company(steady(120), &[("agent_1", steady(120)), ("agent_2", steady(120))]);
    let notifications = RaisedAlarms::default().apply(evaluate_all(&together, &AlarmSettings::default()), 0, NOW);
    let subjects: Vec<_> =
        notifications.iter().map(|notification| (notification.subject.as_str(), notification.kind)).collect();
    assert_eq!(subjects, [("acme", AlarmNotificationKind::Raised)], "one alarm, not one per agent");
}

#[test]
fn the_fixed_silence_limit_needs_no_history() {
    let settings = AlarmSettings { silence_after: Duration::from_mins(10), ..AlarmSettings::default() };
    let history =
        |minutes: i64| ActivityHistory { last_event_at_ms: NOW - minutes * MINUTE, events_by_hour: [(0, 1)].into() };
    let silence = |minutes, up: i64| {
        let inputs =
            AlarmInputs { started_at_ms: NOW - up * MINUTE, ..company(history(minutes), &[("agent_1", history(500))]) };
        let results = evaluate_all(&inputs, &settings).into_iter();
        results.filter(|result| result.alarm == AlarmKind::Silence).collect::<Vec<_>>()
    };
    assert!(is_failing(
        &silence(10, 60)[0].status,
        "no event from company `acme` for 10 min (alarms.silence_after_ms)"
    ));
    assert_eq!(silence(10, 9)[0].status, CheckStatus::Indeterminate);
    assert!(silence(9, 60).iter().all(|result| result.status == CheckStatus::Passing), "agents have no fixed limit");
}
