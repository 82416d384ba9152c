//! Measures the steps of a request before the store: signature, identity, name and ids. Also measures the typed
//! event, which handlers parse afterwards. Run it with `cargo bench --bench hot_path`.
#![allow(unreachable_pub, reason = "no other crate uses this one")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use retell_webhook::event::EventIdentifiers;
use retell_webhook::internals::{DEFAULT_COMPANY_ID, IdentityKey, NewEvent};
use retell_webhook::{ApiKey, Event, EventId, Secret, Signature, Verifier};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAYLOADS: [(&str, &str); 3] = [
    ("0.5 kB", "01_call_started_phone_inbound_small.json"),
    ("9 kB", "03_call_ended_phone_outbound_medium.json"),
    ("127 kB", "04_call_ended_phone_large_60_turns.json"),
];
const NOW_MS: i64 = 1_790_000_000_000;

fn read_payload(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/payloads").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn new_event(body: &[u8]) -> NewEvent {
    NewEvent::new(EventId::lower_bound_at(NOW_MS), DEFAULT_COMPANY_ID, NOW_MS, body.to_vec())
}

fn hot_path(criterion: &mut Criterion) {
    let key = ApiKey::new(&Secret::new("key_9f27a1c4de5588b2031fa7c0"));
    let verifier = Verifier::new(vec![key.clone()]);
    let identities = IdentityKey::from_bytes(&[7; 32]);
    for (size, name) in PAYLOADS {
        let body = read_payload(name);
        let header = Signature::sign(&key, &body, NOW_MS).to_string();
        let mut group = criterion.benchmark_group(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("verify the signature", |bencher| {
            bencher.iter(|| verifier.verify(Some(black_box(&header)), black_box(&body), NOW_MS));
        });
        let event = new_event(&body);
        group.bench_function("identity", |bencher| bencher.iter(|| identities.identity(black_box(&event))));
        group.bench_function("name and ids", |bencher| bencher.iter(|| EventIdentifiers::scan(black_box(&body))));
        group.bench_function("typed event", |bencher| bencher.iter(|| Event::parse(black_box(&body))));
        group.finish();
    }
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
