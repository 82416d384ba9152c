use crate::storage::Seq;
use std::collections::BTreeSet;
use std::path::Path;

use super::tests::{RemovalFixture, START_MS, large_body};
use crate::calls::{CallKind, CallRecord, CallStage};
use crate::storage::DataSubject;
use crate::storage::sqlite::calls;
use crate::storage::sqlite::writer::WriterContext;
use crate::storage::*;

/// The bytes of all files in a folder and its subfolders.
fn read_all_files(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { read_all_files(&path) } else { std::fs::read(&path).unwrap() });
    }
    bytes
}

fn contains_text(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn find_data_subject(fixture: &RemovalFixture, call: &str) -> (DataSubject, BTreeSet<Seq>) {
    let mut person = DataSubject::default();
    person.add_calls([(DEFAULT_COMPANY_ID, call.to_owned())]);
    let seqs = fixture.open_removal().list_event_seqs_of_calls(person.calls()).unwrap();
    (person, seqs)
}

#[tokio::test]
async fn an_erased_call_leaves_no_bytes_and_is_not_stored_again() {
    for indexed in [false, true] {
        let fixture = RemovalFixture::new();
        let secret = |size: usize| format!("{}the secret words", "x".repeat(size)).into_bytes();
        fixture.append(0, "call_gone", &secret(10)).await;
        fixture.append(0, "call_gone", &secret(50_000)).await;
        fixture.append(0, "call_kept", &large_body(b'k')).await;
        if indexed {
            fixture.flush_index().await;
        }
        assert!(contains_text(&read_all_files(fixture.folder.path()), "secret words"));
        let (person, seqs) = find_data_subject(&fixture, "call_gone");
        assert_eq!(seqs.len(), 2);
        let mut removal = fixture.open_removal();
        let erased = removal.erase_events(&Vec::from_iter(seqs.clone()), START_MS).unwrap();
        assert_eq!((erased.events, erased.body_bytes), (2, 50_042));
        removal.erase_related_rows(&person).unwrap();
        // A thread of the store may be reading just then; the contract is to try again.
        assert!((0..100).any(|_| removal.scrub_files().unwrap()));
        let bytes = read_all_files(fixture.folder.path());
        assert!(!contains_text(&bytes, "secret words") && !contains_text(&bytes, "call_gone"));
        // The same body is sent again: to the receiver with its caches, and to one started since.
        assert!(matches!(fixture.append(1, "call_gone", &secret(10)).await, AppendOutcome::Duplicate { .. }));
        let fixture = fixture.restart().await;
        assert!(matches!(fixture.append(1, "call_gone", &secret(50_000)).await, AppendOutcome::Duplicate { .. }));
        assert_eq!(fixture.list_remaining_seqs().await, [3]);
        assert!(!contains_text(&read_all_files(fixture.folder.path()), "call_gone"));
    }
}

#[tokio::test]
async fn deliveries_of_an_erased_event_are_canceled_and_late_attempts_not_recorded() {
    let fixture = RemovalFixture::new();
    let handler = fixture.register_handler().await;
    fixture.append(0, "call_gone", b"one").await;
    fixture.append(0, "call_gone", b"two").await;
    let claimed = fixture.plan_and_claim(handler, 2, &[Seq(1), Seq(2)], 1).await;
    assert_eq!(claimed.len(), 1);
    let (_, seqs) = find_data_subject(&fixture, "call_gone");
    let mut removal = fixture.open_removal();
    let all: Vec<Seq> = seqs.iter().copied().collect();
    assert_eq!(removal.cancel_deliveries(&all, START_MS).unwrap(), (1, 1));
    assert_eq!(removal.list_recipients(&seqs).unwrap()["handler"], BTreeSet::from([Seq(1)]));
    assert_eq!(removal.erase_events(&Vec::from_iter(seqs.clone()), START_MS).unwrap().cancelled_deliveries, 1);
    let attempt = AttemptRecord {
        attempt: 1,
        started_at_ms: START_MS,
        duration_ms: 1,
        outcome: AttemptOutcome::Retry,
        status: None,
        error: None,
        answer: Some("words of the caller".into()),
    };
    let settlement = Settlement::Scheduled { next_attempt_at_ms: START_MS, error: "later".into() };
    let late = SettledDelivery {
        attempt: Some(attempt),
        ..SettledDelivery::without_attempt(Seq(1), claimed[0].lease, settlement)
    };
    assert_eq!(fixture.store.settle_deliveries(handler, vec![late], START_MS).await.unwrap(), 1, "it was erased");
    let lost = fixture.store.renew_leases(handler, vec![claimed[0].lease], i64::MAX).await.unwrap();
    assert_eq!(lost, [claimed[0].lease]);
    assert_eq!(fixture.query_i64("SELECT count(*) FROM attempts").await, 0);
    let ended = "SELECT count(*) FROM deliveries WHERE state = 5 AND note = 'erased' AND due_ms IS NULL";
    assert_eq!(fixture.query_i64(ended).await, 2);
    assert_eq!(fixture.store.next_due_ms(handler).await.unwrap(), None);
}

/// Kind, id, number and summary of calls. Three of them belong to the person with the number +12025550143.
fn calls_of_two_persons() -> impl Iterator<Item = (CallKind, String, &'static str, Option<&'static str>)> {
    let calls = (1..=4_500).map(|number| {
        let from_number = if number == 4_400 { "+12025550143" } else { "+12025550199" };
        let summary = (number == 7).then_some("call back (202) 555-0143");
        (CallKind::Call, format!("call_{number}"), from_number, summary)
    });
    calls.chain([
        (CallKind::Chat, "chat_1".to_owned(), "+12025550143", None),
        (CallKind::Chat, "chat_2".to_owned(), "+12025550199", Some("nothing")),
    ])
}

#[tokio::test]
async fn a_phone_number_is_found_in_calls_without_events() {
    let fixture = RemovalFixture::new();
    let writer = fixture.store.writer().unwrap();
    let key = writer.identity_key.clone();
    let merge = move |state: &mut WriterContext| {
        for (kind, id, from_number, summary) in calls_of_two_persons() {
            let mut call = CallRecord::new(kind, DEFAULT_COMPANY_ID, "", &id, CallStage::Started, 1);
            (call.from_number, call.summary) = (Some(from_number.into()), summary.map(str::to_owned));
            calls::merge_call(&state.conn, &key, &mut state.call_totals, &call)?;
        }
        Ok(())
    };
    writer.write(merge).await.unwrap();
    let mut person = DataSubject::new(Some("+12025550143".parse().unwrap()), None);
    let mut removal = fixture.open_removal();
    let found = removal.find_calls(&person).unwrap();
    assert_eq!(
        found.iter().map(|(_, call_id)| call_id.as_str()).collect::<Vec<_>>(),
        ["call_7", "call_4400", "chat_1"]
    );
    person.add_calls(found);
    assert_eq!(removal.erase_related_rows(&person).unwrap().calls, 3);
    assert!(removal.find_calls(&person).unwrap().is_empty());
    assert_eq!(fixture.query_i64("SELECT count(*) FROM calls").await, 4_498);
}
