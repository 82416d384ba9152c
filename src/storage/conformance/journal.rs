//! The journal, see [`Journal`](crate::storage::Journal).

use super::{NOW_MS, TestStore};
use crate::base::id::CompanyId;
use crate::storage::{AppendOutcome, EventFilter, EventOrigin, EventState, NewEvent, Position, Role, StoredEvent};

const STORED: AppendOutcome = AppendOutcome::Stored { revision: false, unparsed: false };

async fn export(store: &TestStore, after: Position) -> Vec<StoredEvent> {
    store.export_events(after, EventFilter::default()).await.unwrap()
}

fn bodies(events: &[StoredEvent]) -> Vec<Vec<u8>> {
    events.iter().map(|event| event.body.as_ref().unwrap().to_vec()).collect()
}

pub(in crate::storage) async fn an_event_is_read_back_as_it_was_appended(store: TestStore) {
    let sent = NewEvent {
        agent_id: Some("agent_1".into()),
        source: Some("192.0.2.1".into()),
        content_type: Some("application/json".into()),
        query: Some("a=b".into()),
        signature: Some("v=1,d=2".into()),
        key_fingerprint: Some("0123".into()),
        origin: EventOrigin::Import,
        ..store.new_event("call_1", r#"{"event":"call_ended"}"#)
    };
    assert_eq!(store.append(sent.clone()).await.unwrap(), STORED);
    let store = store.restart().await;
    let read = store.get_event(sent.id).await.unwrap().unwrap();
    let summary = &read.summary;
    assert_eq!(read.body.unwrap(), sent.body);
    assert_eq!((summary.id, summary.company_id, summary.company.as_str()), (sent.id, sent.company_id, "default"));
    assert_eq!((&summary.kind, &summary.call_id, &summary.agent_id), (&sent.kind, &sent.call_id, &sent.agent_id));
    assert_eq!(
        (&summary.source, &summary.content_type, &summary.query),
        (&sent.source, &sent.content_type, &sent.query)
    );
    assert_eq!((&summary.signature, &summary.key_fingerprint), (&sent.signature, &sent.key_fingerprint));
    assert_eq!((summary.origin, summary.state), (EventOrigin::Import, EventState::Stored));
    assert_eq!((summary.received_at_ms, summary.size_bytes), (NOW_MS, sent.body.len() as u64));
    assert_eq!((summary.revision_of, summary.duplicate_count), (None, 0));
}

pub(in crate::storage) async fn large_bodies_are_read_back_whole_and_in_order(store: TestStore) {
    let mut sent = vec!["small".to_owned(), "a".repeat(4_000), "b".repeat(100_000), "small too".to_owned()];
    for body in &sent {
        store.append(store.new_event("call_1", body)).await.unwrap();
    }
    let store = store.restart().await;
    sent.push("c".repeat(50_000));
    store.append(store.new_event("call_1", &sent[4])).await.unwrap();
    assert_eq!(bodies(&export(&store, Position::START).await), sent.iter().map(String::as_bytes).collect::<Vec<_>>());
}

pub(in crate::storage) async fn the_same_body_is_one_event_and_another_one_a_revision(store: TestStore) {
    let first = store.new_event("call_1", "one");
    assert_eq!(store.append(first.clone()).await.unwrap(), STORED);
    let duplicate = AppendOutcome::Duplicate { original_id: first.id };
    let revision = AppendOutcome::Stored { revision: true, unparsed: false };
    assert_eq!(store.append(store.new_event("call_1", "one")).await.unwrap(), duplicate);
    assert_eq!(store.append(store.new_event("call_1", "two")).await.unwrap(), revision);
    // The keys of the events must outlive the process.
    let store = store.restart().await;
    assert_eq!(store.append(store.new_event("call_1", "one")).await.unwrap(), duplicate);
    assert_eq!(store.append(store.new_event("call_1", "three")).await.unwrap(), revision);
    assert_eq!(store.append(store.new_event("call_2", "four")).await.unwrap(), STORED);
    let elsewhere = NewEvent { company_id: CompanyId::new(2), ..store.new_event("call_1", "one") };
    assert_eq!(store.append(elsewhere).await.unwrap(), STORED);
    let distinguished = NewEvent { dedupe_discriminator: Some("v=1".into()), ..store.new_event("call_3", "one") };
    assert_eq!(store.append(distinguished).await.unwrap(), STORED);
    let filter =
        EventFilter { call_id: Some("call_1".into()), company: Some("default".into()), ..EventFilter::default() };
    let listed = store.list_events(filter).await.unwrap();
    assert_eq!(
        listed.iter().map(|event| event.revision_of).collect::<Vec<_>>(),
        [Some(first.id), Some(first.id), None]
    );
    assert_eq!(listed[2].duplicate_count, 2);
}

pub(in crate::storage) async fn concurrent_requests_with_the_same_body_are_one_event(store: TestStore) {
    let appended = (0..20).map(|_| store.append(store.new_event("call_1", "one"))).collect::<Vec<_>>();
    let outcomes = futures_util::future::join_all(appended).await;
    assert_eq!(outcomes.iter().filter(|outcome| *outcome.as_ref().unwrap() == STORED).count(), 1);
    assert_eq!(export(&store, Position::START).await[0].summary.duplicate_count, 19);
    assert_eq!(store.appended_count(), 1, "duplicates do not count");
}

pub(in crate::storage) async fn a_reader_continues_at_its_position(store: TestStore) {
    assert_eq!(store.last_position().await.unwrap(), Position::START);
    for number in 0..5 {
        let id = store.event_ids.next_id(NOW_MS + number);
        store.append(NewEvent { id, ..store.new_event("call_1", &format!("body {number}")) }).await.unwrap();
    }
    let reader = store.open_as(Role::Reader);
    let all = export(&store, Position::START).await;
    let position = all[2].summary.position().to_string().parse().unwrap();
    let rest = reader.export_events(position, EventFilter::default()).await.unwrap();
    assert_eq!(bodies(&rest), bodies(&all[3..]));
    assert_eq!(bodies(&export(&store, all[2].summary.position_before()).await), bodies(&all[2..]));
    assert_eq!(bodies(&export(&store, store.position_before(NOW_MS + 2).await.unwrap()).await), bodies(&all[2..]));
    assert_eq!(export(&store, store.last_position().await.unwrap()).await.len(), 0);
    assert_eq!(store.last_position().await.unwrap(), all[4].summary.position());
}

pub(in crate::storage) async fn events_are_listed_by_filter(store: TestStore) {
    let at = |ms| store.event_ids.next_id(ms);
    let old = NewEvent { id: at(NOW_MS), ..store.new_event("call_1", "old") };
    let other_kind =
        NewEvent { kind: Some("call_started".into()), id: at(NOW_MS + 1), ..store.new_event("call_1", "kind") };
    let unparsed = NewEvent {
        kind: None,
        call_id: None,
        unparsed: true,
        received_at_ms: NOW_MS + 2,
        id: at(NOW_MS + 2),
        ..store.new_event("", "not JSON")
    };
    for event in [&old, &other_kind, &unparsed] {
        store.append(event.clone()).await.unwrap();
    }
    let list =
        async |filter| store.list_events(filter).await.unwrap().into_iter().map(|event| event.id).collect::<Vec<_>>();
    let all = EventFilter::default;
    assert_eq!(list(all()).await, [unparsed.id, other_kind.id, old.id], "the newest first");
    assert_eq!(list(EventFilter { limit: Some(1), ..all() }).await, [unparsed.id]);
    assert_eq!(list(EventFilter { kinds: vec!["call_ended".into()], ..all() }).await, [old.id]);
    assert_eq!(list(EventFilter { call_id: Some("call_1".into()), ..all() }).await, [other_kind.id, old.id]);
    assert_eq!(list(EventFilter { unparsed_only: true, ..all() }).await, [unparsed.id]);
    assert_eq!(list(EventFilter { since_ms: Some(NOW_MS + 2), ..all() }).await, [unparsed.id]);
    let both = vec!["call_ended".into(), "call_started".into()];
    assert_eq!(
        list(EventFilter { kinds: both, ..all() }).await.first(),
        list(EventFilter { call_id: Some("call_1".into()), ..all() }).await.first()
    );
    assert_eq!(list(EventFilter { since_ms: Some(NOW_MS + 2), until_ms: Some(NOW_MS + 2), ..all() }).await, []);
    assert_eq!(list(EventFilter { until_ms: Some(NOW_MS + 1_000_000), ..all() }).await, list(all()).await);
    assert!(list(EventFilter { company: Some("acme".into()), ..all() }).await.is_empty());
}

pub(in crate::storage) async fn appended_events_wake_subscribers(store: TestStore) {
    let mut wake_ups = store.subscribe();
    wake_ups.mark_seen();
    let waiting = wake_ups.changed();
    let ((), appended) = tokio::join!(waiting, store.append(store.new_event("call_1", "one")));
    assert_eq!(appended.unwrap(), STORED);
}

pub(in crate::storage) async fn a_closed_store_keeps_its_events_and_accepts_no_more(store: TestStore) {
    store.append(store.new_event("call_1", "one")).await.unwrap();
    store.close().await.unwrap();
    assert!(store.append(store.new_event("call_1", "two")).await.unwrap_err().is_retryable());
    let store = store.restart().await;
    assert_eq!(bodies(&export(&store, Position::START).await), [b"one"]);
}
