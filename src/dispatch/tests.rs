//! Random interleavings of intake, attempts, crashes and time on the real store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::plan::{self, RetryInput};
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::DeliverySettings;
use crate::handlers::Outcome;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{
    AppendOutcome, ClaimRequest, ClaimedDelivery, DEFAULT_COMPANY_ID, HandlerId, HandlerRow, NewEvent, PlannedDelivery,
    SettledDelivery, Settlement, Store,
};

const ORDERING_TIMEOUT_MS: i64 = 20_000;

#[derive(Clone, Copy, Debug)]
enum DispatchStep {
    /// An event of this call arrives.
    Append(u8),
    /// The handler looks at so many events of the journal.
    Plan(usize),
    /// It takes so many deliveries.
    Claim(usize),
    /// One of the attempts under way ends.
    Finish(usize, AttemptEnd),
    /// The process dies and starts again.
    Crash,
    /// Time passes.
    Wait(i64),
}

#[derive(Clone, Copy, Debug)]
enum AttemptEnd {
    Done,
    Retry,
    RetryAfter(u64),
    Fail,
    Released,
}

fn step_strategy() -> impl Strategy<Value = Vec<DispatchStep>> {
    let end = prop_oneof![
        5 => Just(AttemptEnd::Done),
        3 => Just(AttemptEnd::Retry),
        1 => (0..60u64).prop_map(AttemptEnd::RetryAfter),
        1 => Just(AttemptEnd::Fail),
        1 => Just(AttemptEnd::Released),
    ];
    let step = prop_oneof![
        4 => (0..4u8).prop_map(DispatchStep::Append),
        3 => (1..6usize).prop_map(DispatchStep::Plan),
        4 => (1..4usize).prop_map(DispatchStep::Claim),
        6 => (0..8usize, end).prop_map(|(which, end)| DispatchStep::Finish(which, end)),
        1 => Just(DispatchStep::Crash),
        2 => (0..40_000i64).prop_map(DispatchStep::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

struct DispatchModel<'a> {
    folder: &'a Path,
    store: SqliteStore,
    handler: HandlerId,
    now_ms: i64,
    ids: EventIdGenerator,
    settings: DeliverySettings,
    /// Appended events by number, with their call.
    calls: BTreeMap<i64, u8>,
    running: Vec<ClaimedDelivery>,
    finished: BTreeMap<i64, Settlement>,
    /// When a delivery failed for the first time.
    first_failed_at_ms: BTreeMap<i64, i64>,
}

async fn open_store(folder: &Path) -> (SqliteStore, HandlerId) {
    let url = SqliteUrl::parse(&format!("sqlite://{}", folder.join("store.db").display())).unwrap();
    let store = SqliteStore::open(&url, &Supervisor::default()).unwrap();
    let row = HandlerRow { name: "handler".into(), ordered: true, max_hold_ms: ORDERING_TIMEOUT_MS };
    let handler = store.register_handler(row).await.unwrap();
    (store, handler)
}

impl DispatchModel<'_> {
    async fn apply(&mut self, step: DispatchStep) {
        match step {
            DispatchStep::Append(call) => self.append(call).await,
            DispatchStep::Plan(limit) => self.plan(limit).await,
            DispatchStep::Claim(limit) => self.claim(limit).await,
            DispatchStep::Finish(which, end) if !self.running.is_empty() => {
                let claimed = self.running.remove(which % self.running.len());
                self.finish(claimed, end).await;
            }
            DispatchStep::Finish(..) => {}
            DispatchStep::Crash => self.crash().await,
            DispatchStep::Wait(ms) => self.now_ms += ms,
        }
    }

    async fn append(&mut self, call: u8) {
        let body = Bytes::from(format!("{{\"n\":{}}}", self.calls.len()));
        let event = NewEvent {
            kind: Some("call_ended".into()),
            // Call 0 stands for events without a call.
            call_id: (call > 0).then(|| format!("call_{call}")),
            ..NewEvent::new(self.ids.next_id(self.now_ms), DEFAULT_COMPANY_ID, self.now_ms, body)
        };
        assert!(matches!(self.store.append(event).await.unwrap(), AppendOutcome::Stored { .. }));
        self.calls.insert(i64::try_from(self.calls.len()).unwrap() + 1, call);
    }

    async fn plan(&mut self, limit: usize) {
        let events = self.store.unplanned_events(self.handler, limit, false).await.unwrap();
        if let Some((last, _)) = events.last() {
            let planned = events.iter().map(|(event, _)| PlannedDelivery {
                seq: event.seq,
                skip_reason: None,
                supersedes: false,
            });
            self.store.plan_deliveries(self.handler, planned.collect(), last.seq, self.now_ms).await.unwrap();
        }
    }

    async fn claim(&mut self, limit: usize) {
        let claim = ClaimRequest {
            now_ms: self.now_ms,
            lease_until_ms: self.now_ms + 1_000_000_000,
            due_before_ms: self.now_ms,
            limit,
            limit_per_company: limit,
            prefetched_by_company: BTreeMap::new(),
            limit_bytes: u64::MAX,
            after_company_id: 0,
        };
        for claimed in self.store.claim_deliveries(self.handler, claim).await.unwrap() {
            self.assert_order(claimed.event.summary.seq);
            self.running.push(claimed);
        }
    }

    /// Whatever is earlier in its call is over, or waits for another attempt and has held the call long enough.
    fn assert_order(&self, seq: i64) {
        let call = self.calls[&seq];
        assert!(!self.finished.contains_key(&seq), "{seq} is taken although it is over");
        for (earlier, _) in self.calls.iter().filter(|(other, of)| **other < seq && **of == call && call > 0) {
            let over = self.finished.contains_key(earlier);
            let under_way = self.running.iter().any(|claimed| claimed.event.summary.seq == *earlier);
            let held =
                self.first_failed_at_ms.get(earlier).is_some_and(|failed| failed + ORDERING_TIMEOUT_MS <= self.now_ms);
            assert!(over || (held && !under_way), "{seq} is taken before {earlier} of its call");
        }
    }

    async fn finish(&mut self, claimed: ClaimedDelivery, end: AttemptEnd) {
        let seq = claimed.event.summary.seq;
        let outcome = match end {
            AttemptEnd::Done => Outcome::Done,
            AttemptEnd::Retry => Outcome::retry("down"),
            AttemptEnd::RetryAfter(seconds) => Outcome::retry_after(Duration::from_secs(seconds), "busy"),
            AttemptEnd::Fail => Outcome::fail("no"),
            AttemptEnd::Released => return self.settle(seq, Settlement::Released).await,
        };
        let age = Duration::from_millis((self.now_ms - claimed.queued_at_ms).unsigned_abs());
        let tried = RetryInput { attempt: claimed.previous_attempts + 1, age, jitter: 0.5 };
        let settlement = plan::decide_settlement(&tried, &outcome, &self.settings, self.now_ms);
        match &settlement {
            Settlement::Scheduled { .. } => {
                self.first_failed_at_ms.entry(seq).or_insert(self.now_ms);
            }
            over => {
                self.finished.insert(seq, over.clone());
            }
        }
        self.settle(seq, settlement).await;
    }

    async fn settle(&mut self, seq: i64, settlement: Settlement) {
        let settled = vec![SettledDelivery { seq, settlement, attempt: None }];
        self.store.settle_deliveries(self.handler, settled, self.now_ms).await.unwrap();
    }

    async fn crash(&mut self) {
        self.running.clear();
        self.store.close().await.unwrap();
        (self.store, self.handler) = open_store(self.folder).await;
    }

    /// From now on everything succeeds: nothing may be left.
    async fn drain(&mut self) {
        for claimed in std::mem::take(&mut self.running) {
            self.finish(claimed, AttemptEnd::Done).await;
        }
        for _ in 0..self.calls.len() * 2 + 2 {
            self.plan(100).await;
            self.claim(100).await;
            for claimed in std::mem::take(&mut self.running) {
                self.finish(claimed, AttemptEnd::Done).await;
            }
            self.now_ms += 100_000_000;
        }
        let finished: BTreeSet<_> = self.finished.keys().collect();
        assert_eq!(finished, self.calls.keys().collect(), "an event was missed");
        assert_eq!(self.store.next_due_ms(self.handler).await.unwrap(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_missed_and_calls_keep_their_order(steps in step_strategy()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (store, handler) = open_store(folder.path()).await;
            let settings = DeliverySettings { max_age: Duration::from_secs(1 << 40), ..DeliverySettings::default() };
            let mut world = DispatchModel {
                folder: folder.path(),
                store,
                handler,
                now_ms: 1_790_000_000_000,
                ids: EventIdGenerator::default(),
                settings,
                calls: BTreeMap::new(),
                running: Vec::new(),
                finished: BTreeMap::new(),
                first_failed_at_ms: BTreeMap::new(),
            };
            for step in steps {
                world.apply(step).await;
            }
            world.drain().await;
        });
    }
}
