//! What must hold after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PowerCutStore;
use super::load::{STAGES, post_function};
use crate::support::client::RawClient;
use crate::support::load::assert_complete;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// Sums over all cuts. `lost` and `twice` count events and bookings.
#[derive(Debug, Default)]
pub struct Figures {
    pub cuts: u32,
    pub acknowledged_events: usize,
    pub acknowledged_bookings: usize,
    pub deliveries: usize,
    pub delivered_again: usize,
    pub functions_repeated: usize,
    pub lost: usize,
    pub twice: usize,
    pub reordered: usize,
    pub erased_returned: usize,
    pub run_again: usize,
    pub backups: usize,
    pub damaged_backups: usize,
}

/// Checks events, bookings, erasures and functions. Starts the receiver for it, without load.
pub fn check_after_cut(store: &PowerCutStore, cut_at: Instant, figures: &mut Figures) {
    let mut server = store.home.start_server();
    let output = server.output();
    assert!(!output.contains("ERROR"), "{output}");
    check_events(store, figures);
    check_bookings(store, figures);
    check_backups(store, figures);
    check_functions(store, server.address(), cut_at, figures);
    assert_eq!(server.stop(), Some(0), "{}", server.output());
}

fn check_events(store: &PowerCutStore, figures: &mut Figures) {
    let mut stored: BTreeMap<(String, usize), usize> = BTreeMap::new();
    for event in store.home.export_events() {
        let Some(call_id) = event.call_id().filter(|call_id| call_id.starts_with("call_")) else { continue };
        assert_complete(&event);
        let stage = STAGES.iter().position(|name| event.event() == Some(name)).unwrap();
        *stored.entry((call_id, stage)).or_default() += 1;
    }
    figures.twice += stored.values().filter(|count| **count > 1).count();
    let erased = store.load.erased.lock().unwrap();
    figures.erased_returned += stored.keys().filter(|(call_id, _)| erased.contains(call_id)).count();
    let acknowledged = store.load.acknowledged.lock().unwrap();
    for (call_id, stages) in &*acknowledged {
        let is_lost = |stage: &&usize| !stored.contains_key(&(call_id.clone(), **stage));
        figures.lost += stages.iter().filter(is_lost).count();
    }
}

fn check_bookings(store: &PowerCutStore, figures: &mut Figures) {
    let listed = store.home.run_ok(&["appointments", "list", "--json", "--limit", "1000000"]).json();
    let mut stored: BTreeMap<&str, usize> = BTreeMap::new();
    for appointment in listed.as_array().unwrap() {
        *stored.entry(appointment["confirmation_number"].as_str().unwrap()).or_default() += 1;
    }
    figures.twice += stored.values().filter(|count| **count > 1).count();
    let bookings = store.load.bookings.lock().unwrap();
    figures.lost += bookings.iter().filter(|number| !stored.contains_key(number.as_str())).count();
}

/// A backup that has its name is complete, also when the power was cut right after that.
fn check_backups(store: &PowerCutStore, figures: &mut Figures) {
    let folder = store.home.path().join("data/backups");
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let path = path.to_str().unwrap();
        if path.ends_with('Z') {
            let check = store.home.run(&["backup", "verify", path]);
            figures.backups += 1;
            if check.exit_code != Some(0) {
                println!("{check:?}");
                figures.damaged_backups += 1;
            }
        }
    }
}

/// Repeats requests whose answer is on disk. The function must not run again.
fn check_functions(store: &PowerCutStore, address: SocketAddr, cut_at: Instant, figures: &mut Figures) {
    let answered = std::mem::take(&mut *store.load.answered_functions.lock().unwrap());
    let runs_before = store.functions.received().len();
    let mut client = RawClient::connect(address);
    for function in answered.iter().filter(|function| function.was_on_disk(cut_at)) {
        let path = "/api/v1/function/weather";
        post_function(&mut client, path, &function.body, &function.signature).expect("an answer");
        figures.functions_repeated += 1;
    }
    figures.run_again += store.functions.received().len() - runs_before;
}

/// Waits until every event was delivered, and checks the order within each call.
pub fn check_deliveries(store: &PowerCutStore, figures: &mut Figures) {
    let mut server = store.home.start_server();
    let acknowledged = store.load.acknowledged.lock().unwrap();
    let expected: usize = acknowledged.values().map(BTreeSet::len).sum();
    figures.acknowledged_events += expected;
    figures.acknowledged_bookings += store.load.bookings.lock().unwrap().len();
    let is_complete = || {
        let delivered = first_deliveries(store).0;
        acknowledged
            .iter()
            .all(|(call, stages)| delivered.get(call).is_some_and(|of_call| of_call.len() >= stages.len()))
    };
    let all_delivered = wait_until(WAIT_LIMIT, is_complete);
    let (delivered, lines) = first_deliveries(store);
    assert!(all_delivered, "{} of {expected} events delivered", delivered.values().map(Vec::len).sum::<usize>());
    let first: usize = delivered.values().map(Vec::len).sum();
    figures.deliveries += first;
    figures.delivered_again += lines - first;
    figures.reordered += delivered.values().filter(|stages| !stages.is_sorted()).count();
    assert_eq!(server.stop(), Some(0), "{}", server.output());
}

/// The stages of each call in the order of their first delivery, and the number of all deliveries.
fn first_deliveries(store: &PowerCutStore) -> (BTreeMap<String, Vec<usize>>, usize) {
    let text = std::fs::read_to_string(store.home.path().join("export/events.jsonl")).unwrap_or_default();
    let mut delivered: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut lines = 0;
    for line in text.lines() {
        // The power cut may have torn a line; its event is delivered again.
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(call_id), Some(name)) = (line["call_id"].as_str(), line["event"].as_str()) else { continue };
        let Some(stage) = STAGES.iter().position(|known| *known == name).filter(|_| call_id.starts_with("call_"))
        else {
            continue;
        };
        lines += 1;
        let of_call = delivered.entry(call_id.to_owned()).or_default();
        if !of_call.contains(&stage) {
            of_call.push(stage);
        }
    }
    (delivered, lines)
}
