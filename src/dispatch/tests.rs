//! Random interleavings of intake, attempts, crashes and time on the real store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::plan::{self, Tried};
use crate::base::id::EventIds;
use crate::base::supervise::Supervisor;
use crate::config::DeliverySettings;
use crate::handlers::Outcome;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{
    Appended, Claim, Claimed, DEFAULT_COMPANY, HandlerId, HandlerRow, NewEvent, Planned, Settled, Settlement, Store,
};

const HOLD_MS: i64 = 20_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An event of this call arrives.
    Append(u8),
    /// The handler looks at so many events of the journal.
    Plan(usize),
    /// It takes so many deliveries.
    Claim(usize),
    /// One of the attempts under way ends.
    Finish(usize, End),
    /// The process dies and starts again.
    Crash,
    /// Time passes.
    Wait(i64),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Retry,
    RetryAfter(u64),
    Fail,
    Released,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        5 => Just(End::Done),
        3 => Just(End::Retry),
        1 => (0..60u64).prop_map(End::RetryAfter),
        1 => Just(End::Fail),
        1 => Just(End::Released),
    ];
    let step = prop_oneof![
        4 => (0..4u8).prop_map(Step::Append),
        3 => (1..6usize).prop_map(Step::Plan),
        4 => (1..4usize).prop_map(Step::Claim),
        6 => (0..8usize, end).prop_map(|(which, end)| Step::Finish(which, end)),
        1 => Just(Step::Crash),
        2 => (0..40_000i64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

struct World<'a> {
    folder: &'a Path,
    store: SqliteStore,
    handler: HandlerId,
    now_ms: i64,
    ids: EventIds,
    settings: DeliverySettings,
    /// Appended events by number, with their call.
    calls: BTreeMap<i64, u8>,
    under_way: Vec<Claimed>,
    finished: BTreeMap<i64, Settlement>,
    /// When a delivery failed for the first time.
    failed: BTreeMap<i64, i64>,
}

async fn open(folder: &Path) -> (SqliteStore, HandlerId) {
    let url = SqliteUrl::parse(&format!("sqlite://{}", folder.join("store.db").display())).unwrap();
    let store = SqliteStore::open(&url, &Supervisor::default()).unwrap();
    let row = HandlerRow { name: "handler".into(), ordered: true, hold_ms: HOLD_MS };
    let handler = store.register_handler(row).await.unwrap();
    (store, handler)
}

impl World<'_> {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Append(call) => self.append(call).await,
            Step::Plan(limit) => self.plan(limit).await,
            Step::Claim(limit) => self.claim(limit).await,
            Step::Finish(which, end) if !self.under_way.is_empty() => {
                let claimed = self.under_way.remove(which % self.under_way.len());
                self.finish(claimed, end).await;
            }
            Step::Finish(..) => {}
            Step::Crash => self.crash().await,
            Step::Wait(ms) => self.now_ms += ms,
        }
    }

    async fn append(&mut self, call: u8) {
        let body = Bytes::from(format!("{{\"n\":{}}}", self.calls.len()));
        let event = NewEvent {
            event: Some("call_ended".into()),
            // Call 0 stands for events without a call.
            call_id: (call > 0).then(|| format!("call_{call}")),
            ..NewEvent::new(self.ids.next(self.now_ms), DEFAULT_COMPANY, self.now_ms, body)
        };
        assert!(matches!(self.store.append(event).await.unwrap(), Appended::Stored { .. }));
        self.calls.insert(i64::try_from(self.calls.len()).unwrap() + 1, call);
    }

    async fn plan(&mut self, limit: usize) {
        let events = self.store.unplanned(self.handler, limit, false).await.unwrap();
        if let Some((last, _)) = events.last() {
            let planned = events.iter().map(|(event, _)| Planned { seq: event.seq, skipped: None, supersedes: false });
            self.store.plan(self.handler, planned.collect(), last.seq, self.now_ms).await.unwrap();
        }
    }

    async fn claim(&mut self, limit: usize) {
        let claim = Claim {
            now_ms: self.now_ms,
            lease_until_ms: self.now_ms + 1_000_000_000,
            due_before_ms: self.now_ms,
            limit,
            limit_each: limit,
            waiting: BTreeMap::new(),
            limit_bytes: u64::MAX,
            company_after: 0,
        };
        for claimed in self.store.claim(self.handler, claim).await.unwrap() {
            self.check_order(claimed.event.summary.seq);
            self.under_way.push(claimed);
        }
    }

    /// Whatever is earlier in its call is over, or waits for another attempt and has held the call long enough.
    fn check_order(&self, seq: i64) {
        let call = self.calls[&seq];
        assert!(!self.finished.contains_key(&seq), "{seq} is taken although it is over");
        for (earlier, _) in self.calls.iter().filter(|(other, of)| **other < seq && **of == call && call > 0) {
            let over = self.finished.contains_key(earlier);
            let under_way = self.under_way.iter().any(|claimed| claimed.event.summary.seq == *earlier);
            let held = self.failed.get(earlier).is_some_and(|failed| failed + HOLD_MS <= self.now_ms);
            assert!(over || (held && !under_way), "{seq} is taken before {earlier} of its call");
        }
    }

    async fn finish(&mut self, claimed: Claimed, end: End) {
        let seq = claimed.event.summary.seq;
        let outcome = match end {
            End::Done => Outcome::Done,
            End::Retry => Outcome::retry("down"),
            End::RetryAfter(seconds) => Outcome::retry_after(Duration::from_secs(seconds), "busy"),
            End::Fail => Outcome::fail("no"),
            End::Released => return self.settle(seq, Settlement::Released).await,
        };
        let age = Duration::from_millis((self.now_ms - claimed.since_ms).unsigned_abs());
        let tried = Tried { attempt: claimed.attempts + 1, age, jitter: 0.5 };
        let settlement = plan::next(&tried, &outcome, &self.settings, self.now_ms);
        match &settlement {
            Settlement::Scheduled { .. } => {
                self.failed.entry(seq).or_insert(self.now_ms);
            }
            over => {
                self.finished.insert(seq, over.clone());
            }
        }
        self.settle(seq, settlement).await;
    }

    async fn settle(&mut self, seq: i64, settlement: Settlement) {
        let settled = vec![Settled { seq, settlement, attempt: None }];
        self.store.settle(self.handler, settled, self.now_ms).await.unwrap();
    }

    async fn crash(&mut self) {
        self.under_way.clear();
        self.store.close().await.unwrap();
        (self.store, self.handler) = open(self.folder).await;
    }

    /// From now on everything succeeds: nothing may be left.
    async fn drain(&mut self) {
        for claimed in std::mem::take(&mut self.under_way) {
            self.finish(claimed, End::Done).await;
        }
        for _ in 0..self.calls.len() * 2 + 2 {
            self.plan(100).await;
            self.claim(100).await;
            for claimed in std::mem::take(&mut self.under_way) {
                self.finish(claimed, End::Done).await;
            }
            self.now_ms += 100_000_000;
        }
        let finished: BTreeSet<_> = self.finished.keys().collect();
        assert_eq!(finished, self.calls.keys().collect(), "an event was missed");
        assert_eq!(self.store.next_due(self.handler).await.unwrap(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_missed_and_calls_keep_their_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (store, handler) = open(folder.path()).await;
            let settings = DeliverySettings { max_age: Duration::from_secs(1 << 40), ..DeliverySettings::default() };
            let mut world = World {
                folder: folder.path(),
                store,
                handler,
                now_ms: 1_790_000_000_000,
                ids: EventIds::default(),
                settings,
                calls: BTreeMap::new(),
                under_way: Vec::new(),
                finished: BTreeMap::new(),
                failed: BTreeMap::new(),
            };
            for step in steps {
                world.take(step).await;
            }
            world.drain().await;
        });
    }
}
