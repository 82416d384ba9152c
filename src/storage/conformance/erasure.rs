//! Erasure of a person's data, see [`ErasureStore`](crate::storage::ErasureStore).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{NOW_MS, TestStore};
use crate::base::id::CompanyId;
use crate::calls::{CallKind, CallRecord, CallStage};
use crate::storage::{
    AppendOutcome, AttemptOutcome, AttemptRecord, DEFAULT_COMPANY_ID, DataSubject, EventFilter, NewEvent, Position,
    Role, SettledDelivery, Settlement, Store,
};

const PHONE_NUMBER: &str = "+12025550143";

fn person_of_call(call_id: &str) -> DataSubject {
    let mut person = DataSubject::default();
    person.add_calls([(DEFAULT_COMPANY_ID, call_id.to_owned())]);
    person
}

/// Erases what the store holds of the person, as the command does, and returns the number of erased events.
async fn erase(operator: &Arc<dyn Store>, person: &DataSubject) -> u64 {
    let seqs = operator.list_event_seqs_of_calls(person.calls().clone()).await.unwrap();
    let erasable = operator.count_erasable(person.clone(), seqs.clone()).await.unwrap();
    let erased = operator.erase_events(Vec::from_iter(seqs), NOW_MS).await.unwrap();
    assert_eq!(erasable.events, erased.events);
    operator.erase_related_rows(person.clone()).await.unwrap();
    erased.events
}

pub(in crate::storage) async fn an_erased_event_is_not_stored_again(store: TestStore) {
    let small = store.new_event("call_gone", "secret words");
    let large = store.new_event("call_gone", &format!("{}secret words", "x".repeat(50_000)));
    store.append(small.clone()).await.unwrap();
    store.append(large.clone()).await.unwrap();
    let kept = store.append_event(store.new_event("call_kept", "other words")).await;
    let operator = store.open_as(Role::Operator);
    let seqs = operator.list_event_seqs_of_calls(person_of_call("call_gone").calls().clone()).await.unwrap();
    let ids = operator.list_event_ids(seqs.clone()).await.unwrap();
    assert_eq!(BTreeSet::from_iter(ids), BTreeSet::from([small.id.to_string(), large.id.to_string()]));
    assert_eq!(erase(&operator, &person_of_call("call_gone")).await, 2);
    assert!(operator.list_event_ids(seqs).await.unwrap().is_empty());
    let again = |event: &NewEvent| NewEvent { id: store.event_ids.next_id(NOW_MS + 1), ..event.clone() };
    let duplicates = [again(&small), again(&large)];
    for event in duplicates.clone() {
        assert!(matches!(store.append(event).await.unwrap(), AppendOutcome::Duplicate { .. }));
    }
    let store = store.restart().await;
    for event in duplicates {
        assert!(matches!(store.append(event).await.unwrap(), AppendOutcome::Duplicate { .. }));
    }
    let left = store.list_events(EventFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|event| event.seq).collect::<Vec<_>>(), [kept]);
}

pub(in crate::storage) async fn deliveries_of_an_erased_event_end_and_late_attempts_are_not_recorded(store: TestStore) {
    let handler = store.register("crm", 0).await;
    let first = store.append_event(store.new_event("call_gone", "one")).await;
    let second = store.append_event(store.new_event("call_gone", "two")).await;
    store.plan_all(handler).await;
    let claimed = store.claim(handler, NOW_MS).await.remove(0);
    let operator = store.open_as(Role::Operator);
    let (waiting, running) = operator.cancel_deliveries(vec![first, second], NOW_MS).await.unwrap();
    assert_eq!((waiting, running), (1, 1));
    let recipients = operator.list_recipients(BTreeSet::from([first, second])).await.unwrap();
    assert_eq!(recipients["crm"], BTreeSet::from([first]));
    assert_eq!(erase(&operator, &person_of_call("call_gone")).await, 2);
    let lost = store.renew_leases(handler, vec![claimed.lease], i64::MAX).await.unwrap();
    assert_eq!(lost, [claimed.lease]);
    let attempt = AttemptRecord {
        attempt: 1,
        started_at_ms: NOW_MS,
        duration_ms: 1,
        outcome: AttemptOutcome::Retry,
        status: None,
        error: None,
        answer: Some("words of the caller".into()),
    };
    let settlement = Settlement::Scheduled { next_attempt_at_ms: NOW_MS, error: "later".into() };
    let late = SettledDelivery {
        seq: first,
        lease: claimed.lease,
        settlement,
        attempt: Some(attempt),
        body_unread: false,
        call: None,
    };
    assert_eq!(store.settle_deliveries(handler, vec![late], NOW_MS).await.unwrap(), 1);
    assert_eq!(store.next_due_ms(handler).await.unwrap(), None);
    let erasable = operator.count_erasable(DataSubject::default(), BTreeSet::from([first, second])).await.unwrap();
    assert_eq!((erasable.attempts, erasable.cancelled_deliveries), (0, 0));
}

pub(in crate::storage) async fn a_phone_number_is_found_in_events_and_calls(store: TestStore) {
    let bodies = [
        format!("{{\"from_number\":\"{PHONE_NUMBER}\"}}"),
        format!("{} call me at (202) 555-0143 ", "x".repeat(20_000)),
        "{\"from_number\":\"+12025550144\"}".to_owned(),
    ];
    let mut seqs = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        seqs.push(store.append_event(store.new_event(&format!("call_{number}"), body)).await);
    }
    let call = CallRecord {
        from_number: Some(PHONE_NUMBER.into()),
        ..CallRecord::new(CallKind::Call, DEFAULT_COMPANY_ID, "default", "call_9", CallStage::Ended, NOW_MS)
    };
    store.merge_call(call).await.unwrap();
    let operator = store.open_as(Role::Operator);
    let person = |company| DataSubject::new(Some(PHONE_NUMBER.parse().unwrap()), company);
    let found = operator.scan_journal(person(None), Position::START).await.unwrap();
    assert_eq!((found.matching_seqs, found.next_after, found.unreadable_bodies), (seqs[..2].to_vec(), None, 0));
    let elsewhere = operator.scan_journal(person(Some(CompanyId::new(77))), Position::START).await.unwrap();
    assert!(elsewhere.matching_seqs.is_empty());
    let mut found_person = person(None);
    found_person.add_calls(operator.find_calls(person(None)).await.unwrap());
    assert_eq!(*found_person.calls(), BTreeSet::from([(DEFAULT_COMPANY_ID, "call_9".to_owned())]));
    assert_eq!(operator.erase_related_rows(found_person).await.unwrap().calls, 1);
    assert!(operator.find_calls(person(None)).await.unwrap().is_empty());
}
