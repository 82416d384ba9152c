use std::collections::BTreeSet;
use std::path::Path;

use super::Person;
use super::tests::{START_MS, World, large};
use crate::storage::*;

/// The bytes of every file in a folder and below.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { std::fs::read(&path).unwrap() });
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn person(world: &World, call: &str) -> (Person, BTreeSet<i64>) {
    let mut person = Person::default();
    person.add_calls([(DEFAULT_COMPANY, call.to_owned())]);
    let seqs = world.removal().events_of(person.calls()).unwrap();
    (person, seqs)
}

#[tokio::test]
async fn an_erased_call_leaves_no_byte_and_does_not_come_back() {
    for indexed in [false, true] {
        let world = World::new();
        let secret = |size: usize| format!("{}the secret words", "x".repeat(size)).into_bytes();
        world.append(0, "call_gone", &secret(10)).await;
        world.append(0, "call_gone", &secret(50_000)).await;
        world.append(0, "call_kept", &large(b'k')).await;
        if indexed {
            world.write_index().await;
        }
        assert!(holds(&all_bytes(world.folder.path()), "secret words"));
        let (person, seqs) = person(&world, "call_gone");
        assert_eq!(seqs.len(), 2);
        let mut removal = world.removal();
        let erased = removal.erase_events(&seqs, START_MS, |_| {}).unwrap();
        assert_eq!((erased.events, erased.body_bytes), (2, 50_042));
        removal.erase_rows(&person).unwrap();
        assert!(removal.leave_no_copy().unwrap());
        let bytes = all_bytes(world.folder.path());
        assert!(!holds(&bytes, "secret words") && !holds(&bytes, "call_gone"));
        // Retell sends it again, to the receiver that still remembers it and to one that was started since.
        assert!(matches!(world.append(1, "call_gone", &secret(10)).await, Appended::Duplicate { .. }));
        let world = world.restart().await;
        assert!(matches!(world.append(1, "call_gone", &secret(50_000)).await, Appended::Duplicate { .. }));
        assert_eq!(world.kept().await, [3]);
        assert!(!holds(&all_bytes(world.folder.path()), "call_gone"));
    }
}

#[tokio::test]
async fn deliveries_of_an_erased_event_are_cancelled_and_late_attempts_not_written_down() {
    let world = World::new();
    let handler = world.handler().await;
    world.append(0, "call_gone", b"one").await;
    world.append(0, "call_gone", b"two").await;
    let planned = |seq| Planned { seq, skipped: None, supersedes: false };
    world.store.plan(handler, vec![planned(1), planned(2)], 2, START_MS).await.unwrap();
    let claim = Claim {
        now_ms: START_MS,
        lease_until_ms: START_MS + 1,
        due_before_ms: START_MS,
        limit: 1,
        limit_each: 1,
        waiting: std::collections::BTreeMap::new(),
        limit_bytes: 1_000,
        company_after: 0,
    };
    assert_eq!(world.store.claim(handler, claim).await.unwrap().len(), 1);
    let (_, seqs) = person(&world, "call_gone");
    let mut removal = world.removal();
    let all: Vec<i64> = seqs.iter().copied().collect();
    assert_eq!(removal.cancel(&all, START_MS).unwrap(), (1, 1));
    assert_eq!(removal.given_to(&seqs).unwrap()["handler"], BTreeSet::from([1]));
    assert_eq!(removal.erase_events(&seqs, START_MS, |_| {}).unwrap().cancelled_deliveries, 1);
    let attempt = AttemptRecord {
        attempt: 1,
        started_at_ms: START_MS,
        duration_ms: 1,
        outcome: "retry".into(),
        status: None,
        error: None,
        answer: Some("what was said".into()),
    };
    let settlement = Settlement::Scheduled { next_attempt_at_ms: START_MS, error: "later".into() };
    let late = Settled { seq: 1, settlement, attempt: Some(attempt) };
    world.store.settle(handler, vec![late], START_MS).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM attempts").await, 0);
    let ended = "SELECT count(*) FROM deliveries WHERE state = 5 AND note = 'erased' AND due_ms IS NULL";
    assert_eq!(world.count(ended).await, 2);
    assert_eq!(world.store.next_due(handler).await.unwrap(), None);
}

#[tokio::test]
async fn a_number_is_found_in_small_and_large_bodies() {
    let world = World::new();
    world.append(0, "call_1", br#"{"from_number":"+12025550143"}"#).await;
    world.append(0, "call_2", &[&large(b'x')[..], b" call me at (202) 555-0143 "].concat()).await;
    world.append(0, "call_3", br#"{"from_number":"+12025550144"}"#).await;
    let person = |company| Person::new(Some("+12025550143".parse().unwrap()), company);
    let found = world.removal().scan(&person(None), 0).unwrap();
    assert_eq!((found.seqs, found.next, found.unreadable), (vec![1, 2], None, 0));
    assert!(world.removal().scan(&person(Some(77)), 0).unwrap().seqs.is_empty());
}

#[tokio::test]
async fn a_number_is_found_in_rows_of_calls_whose_events_are_gone() {
    let world = World::new();
    let rows = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 4500)
        INSERT INTO calls (company_id, call_id, stage, from_number, transfers, first_event_at_ms, last_event_at_ms)
          SELECT 1, 'call_' || n, 1, iif(n = 4400, '+12025550143', '+12025550199'), '{}', 1, 1 FROM n;
        INSERT INTO chats (company_id, call_id, stage, to_number, transfers, first_event_at_ms, last_event_at_ms)
          VALUES (1, 'chat_1', 1, '+12025550143', '{}', 1, 1), (1, 'chat_2', 1, NULL, '{}', 1, 1);
        INSERT INTO call_texts (kind, company_id, call_id, summary) VALUES ('call', 1, 'call_7', 'call back (202) 555-0143'),
          ('chat', 1, 'chat_2', 'nothing');";
    world.store.writer().unwrap().write(move |state| Ok(state.conn.execute_batch(rows)?)).await.unwrap();
    let mut person = Person::new(Some("+12025550143".parse().unwrap()), None);
    let mut removal = world.removal();
    let found = removal.calls_with(&person).unwrap();
    assert_eq!(
        found.iter().map(|(_, call_id)| call_id.as_str()).collect::<Vec<_>>(),
        ["call_4400", "chat_1", "call_7"]
    );
    person.add_calls(found);
    assert_eq!(removal.erase_rows(&person).unwrap().calls, 3);
    assert!(removal.calls_with(&person).unwrap().is_empty());
    assert_eq!(world.count("SELECT count(*) FROM calls").await, 4_498);
}
