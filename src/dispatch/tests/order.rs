//! Property test: random interleavings of intake, planning, attempts, crashes and time on the real store.

use crate::base::id::CompanyId;
use crate::storage::Seq;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::{DeliverySettings, StorageUrl};
use crate::dispatch::plan::{self, RetryInput};
use crate::handlers::Outcome;
use crate::storage::{
    self, AppendOutcome, ClaimRequest, ClaimedDelivery, DEFAULT_COMPANY_ID, HandlerId, HandlerRow, LeaseToken,
    NewEvent, PlanOutcome, PlannedDelivery, Role, SettledDelivery, Settlement, Store,
};

const ORDERING_TIMEOUT_MS: i64 = 20_000;

#[derive(Clone, Copy, Debug)]
enum DispatchStep {
    /// Appends an event of this call.
    Append(u8),
    /// Plans at most this many events of the journal.
    Plan(usize),
    /// Claims at most this many deliveries.
    Claim(usize),
    /// Ends one of the running attempts.
    Finish(usize, AttemptEnd),
    /// Drops all running attempts and opens the store again.
    Crash,
    /// Advances the clock by this many milliseconds.
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
    store: Arc<dyn Store>,
    handler: HandlerId,
    now_ms: i64,
    ids: EventIdGenerator,
    settings: DeliverySettings,
    /// Call number by sequence number of the appended event.
    calls: BTreeMap<Seq, u8>,
    running: Vec<ClaimedDelivery>,
    finished: BTreeMap<Seq, Settlement>,
    /// Time of the first failure by sequence number: the ordering timeout counts from it.
    first_failed_at_ms: BTreeMap<Seq, i64>,
}

async fn open_store(folder: &Path) -> (Arc<dyn Store>, HandlerId) {
    let url = StorageUrl::file(folder.join("store.db"));
    let store = storage::open(&url, Role::Receiver, &Supervisor::default()).unwrap();
    let row = HandlerRow { name: "handler".into(), ordered: true, ordering_timeout_ms: ORDERING_TIMEOUT_MS };
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
        self.calls.insert(Seq(i64::try_from(self.calls.len()).unwrap() + 1), call);
    }

    async fn plan(&mut self, limit: usize) {
        if let Some(batch) = self.store.next_plan_batch(self.handler, limit, false).await.unwrap() {
            let planned = batch.events.iter().map(|(event, _)| PlannedDelivery::new(event.seq));
            let planned = planned.collect();
            let outcome = self.store.plan_deliveries(self.handler, batch.token, planned, self.now_ms).await.unwrap();
            assert_eq!(outcome, PlanOutcome::Planned);
        }
    }

    async fn claim(&mut self, limit: usize) {
        let claim = ClaimRequest {
            now_ms: self.now_ms,
            lease_until_ms: self.now_ms + 1_000_000_000,
            due_before_ms: self.now_ms,
            limit,
            prefer_untried: false,
            limit_per_company: limit,
            prefetched_by_company: BTreeMap::new(),
            limit_bytes: u64::MAX,
            after_company_id: CompanyId::new(0),
        };
        for claimed in self.store.claim_deliveries(self.handler, claim).await.unwrap() {
            self.assert_order(claimed.event.summary.seq);
            self.running.push(claimed);
        }
    }

    /// Every earlier delivery of the call is finished, or waits for a retry and has exceeded the ordering timeout.
    fn assert_order(&self, seq: Seq) {
        let call = self.calls[&seq];
        assert!(!self.finished.contains_key(&seq), "{seq} was claimed although it is finished");
        for (earlier, _) in self.calls.iter().filter(|(other, of)| **other < seq && **of == call && call > 0) {
            let is_finished = self.finished.contains_key(earlier);
            let is_running = self.running.iter().any(|claimed| claimed.event.summary.seq == *earlier);
            let first_failed_at_ms = self.first_failed_at_ms.get(earlier);
            let timed_out = first_failed_at_ms.is_some_and(|failed| failed + ORDERING_TIMEOUT_MS <= self.now_ms);
            assert!(is_finished || (timed_out && !is_running), "{seq} was claimed before {earlier} of its call");
        }
    }

    async fn finish(&mut self, claimed: ClaimedDelivery, end: AttemptEnd) {
        let seq = claimed.event.summary.seq;
        let outcome = match end {
            AttemptEnd::Done => Outcome::Done,
            AttemptEnd::Retry => Outcome::retry("down"),
            AttemptEnd::RetryAfter(seconds) => Outcome::retry_after(Duration::from_secs(seconds), "busy"),
            AttemptEnd::Fail => Outcome::fail("no"),
            AttemptEnd::Released => return self.settle(seq, claimed.lease, Settlement::Released).await,
        };
        let age = Duration::from_millis((self.now_ms - claimed.queued_at_ms).unsigned_abs());
        let input = RetryInput { attempt: claimed.previous_attempts + 1, age, jitter: 0.5 };
        let settlement = plan::decide_settlement(&input, &outcome, &self.settings, self.now_ms);
        match &settlement {
            Settlement::Scheduled { .. } => {
                self.first_failed_at_ms.entry(seq).or_insert(self.now_ms);
            }
            finished => {
                self.finished.insert(seq, finished.clone());
            }
        }
        self.settle(seq, claimed.lease, settlement).await;
    }

    async fn settle(&mut self, seq: Seq, lease: LeaseToken, settlement: Settlement) {
        let settled = vec![SettledDelivery::without_attempt(seq, lease, settlement)];
        assert_eq!(self.store.settle_deliveries(self.handler, settled, self.now_ms).await.unwrap(), 0);
    }

    async fn crash(&mut self) {
        self.running.clear();
        self.store.close().await.unwrap();
        (self.store, self.handler) = open_store(self.folder).await;
    }

    /// Lets every attempt succeed from now on, and checks that every event was delivered.
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
        assert_eq!(finished, self.calls.keys().collect(), "an event was not delivered");
        assert_eq!(self.store.next_due_ms(self.handler).await.unwrap(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_delivered_in_the_order_of_its_call(steps in step_strategy()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (store, handler) = open_store(folder.path()).await;
            let settings = DeliverySettings { max_age: Duration::from_secs(1 << 40), ..DeliverySettings::default() };
            let mut model = DispatchModel {
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
                model.apply(step).await;
            }
            model.drain().await;
        });
    }
}
