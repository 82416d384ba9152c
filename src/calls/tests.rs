use crate::base::id::CompanyId;
use proptest::prelude::*;

use super::*;

fn record(stage: CallStage, at_ms: i64, fill: impl FnOnce(&mut CallRecord)) -> CallRecord {
    let mut record = CallRecord::new(CallKind::Call, CompanyId::new(1), "default", "call_1", stage, at_ms);
    fill(&mut record);
    record
}

fn started() -> CallRecord {
    record(CallStage::Started, 10, |call| {
        call.call_status = Some("ongoing".into());
        call.started_at_ms = Some(5);
        call.agent_name = Some("Nora".into());
    })
}

fn ended() -> CallRecord {
    record(CallStage::Ended, 20, |call| {
        call.call_status = Some("ended".into());
        call.duration_ms = Some(25_245);
    })
}

fn analyzed() -> CallRecord {
    record(CallStage::Analyzed, 21, |call| {
        call.call_status = Some("ended".into());
        call.duration_ms = Some(25_245);
        call.user_sentiment = Some("Positive".into());
        call.summary = Some("All well.".into());
        call.custom_analysis_data = Some("{}".into());
        call.in_voicemail = Some(false);
    })
}

fn merged(order: &[CallRecord]) -> CallRecord {
    let mut call = order[0].clone();
    for news in order {
        call.merge(news.clone());
    }
    call
}

#[test]
fn every_order_gives_the_same_row() {
    let (a, b, c) = (started(), ended(), analyzed());
    let expected = merged(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!(expected.agent_name.as_deref(), Some("Nora"));
    assert_eq!(expected.user_sentiment.as_deref(), Some("Positive"));
    for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
        assert_eq!(merged(&order.map(Clone::clone)), expected);
    }
}

#[test]
fn a_finished_call_stays_finished() {
    let odd = record(CallStage::Ended, 30, |call| call.call_status = Some("registered".into()));
    assert_eq!(merged(&[ended(), odd]).call_status.as_deref(), Some("ended"));
}

#[test]
fn the_state_of_transfers_does_not_depend_on_the_order_of_events() {
    let transfer =
        |id: &str, event| record(CallStage::Underway, 15, |call| call.transfers.extend([(id.into(), event)]));
    let first = transfer("a", TransferKind::Started);
    let cancelled = transfer("b", TransferKind::Cancelled);
    let second = transfer("c", TransferKind::Started);
    let bridged = transfer("d", TransferKind::Bridged);
    assert_eq!(started().transfer_state(), None);
    assert_eq!(merged(&[started(), first.clone()]).transfer_state(), Some("started"));
    assert_eq!(merged(&[cancelled.clone(), first.clone(), first.clone()]).transfer_state(), Some("cancelled"));
    assert_eq!(
        merged(&[first.clone(), cancelled.clone(), second.clone(), second.clone()]).transfer_state(),
        Some("started")
    );
    assert_eq!(merged(&[bridged, first, cancelled, second, analyzed()]).transfer_state(), Some("bridged"));
}

#[test]
fn an_older_revision_does_not_replace_a_newer_one() {
    let revised = record(CallStage::Ended, 25, |call| call.duration_ms = Some(1));
    for order in [[ended(), revised.clone()], [revised, ended()]] {
        assert_eq!(merged(&order).duration_ms, Some(1));
    }
}

#[test]
fn values_of_a_row_without_sources_count_as_from_its_latest_event() {
    let mut old = merged(&[started(), ended()]);
    old.sources = ValueSources::from_json("[]");
    old.merge(record(CallStage::Underway, 30, |call| {
        call.agent_name = Some("Other".into());
        call.direction = Some("inbound".into());
    }));
    assert_eq!((old.agent_name.as_deref(), old.direction.as_deref()), (Some("Nora"), Some("inbound")));
    old.merge(analyzed());
    assert_eq!(old.summary.as_deref(), Some("All well."));
}

fn some<T: std::fmt::Debug + Clone + 'static>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(value)
}

fn word() -> impl Strategy<Value = Option<String>> {
    some("[ab]")
}

/// The values of an event of any stage. Few different ones, so that events often agree.
fn any_news() -> impl Strategy<Value = CallRecord> {
    let status = some(prop_oneof![Just("registered"), Just("ongoing"), Just("ended"), Just("error"), Just("new")]);
    let words = (word(), word(), word(), word(), word(), word());
    let figures = (some(0..3_i64), some(0..3_i64), some(any::<bool>()), some(any::<bool>()), some(0..3_i64));
    (1..5_i64, any::<bool>(), status, words, figures).prop_map(|(rank, chat, status, words, figures)| {
        record(CallStage::from_rank(rank).unwrap(), 0, |call| {
            // Merged records have the same kind, which the test sets; it makes no difference to the values.
            call.call_type = Some(if chat { "sms_chat" } else { "phone_call" }.to_owned());
            call.call_status = status.map(str::to_owned);
            (call.agent_name, call.from_number, call.user_sentiment) = (words.0, words.1, words.2);
            (call.summary, call.custom_analysis_data, call.cost_cents) = (words.3, words.4, words.5);
            (call.duration_ms, call.agent_version) = (figures.0, figures.1);
            (call.in_voicemail, call.call_successful) = (figures.2, figures.3);
            call.latency_e2e = figures.4.map(|ms| E2eLatency { p50_ms: Some(ms), ..E2eLatency::default() });
        })
    })
}

proptest! {
    #[test]
    fn every_order_of_any_events_gives_the_same_row(
        (in_order, shuffled) in proptest::collection::vec(any_news(), 1..7).prop_map(|mut events| {
            for (at_ms, news) in (100..).zip(&mut events) {
                news.first_event_at_ms = at_ms;
                news.last_event_at_ms = at_ms;
                news.transfers.insert(format!("evt_{at_ms}"), TransferKind::Started);
            }
            events
        }).prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
        chat in any::<bool>(),
    ) {
        let kind = if chat { CallKind::Chat } else { CallKind::Call };
        let of_kind = |events: Vec<CallRecord>| -> Vec<CallRecord> {
            events.into_iter().map(|event| CallRecord { kind, ..event }).collect()
        };
        let in_order = of_kind(in_order);
        let shuffled = of_kind(shuffled);
        let expected = merged(&in_order);
        prop_assert!(merged(&shuffled) == expected);
        // With the sources stored and read between any two events, and with every event handled twice.
        let mut stored = shuffled[0].clone();
        for news in shuffled.iter().chain(&shuffled) {
            stored.sources = ValueSources::from_json(&stored.sources.to_json());
            stored.merge(news.clone());
        }
        prop_assert!(stored == expected);
    }
}
