//! Statistics of attempts are those of the recorded attempts, whatever happened to deliveries and events.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::id::{CompanyId, EventIdGenerator};
use crate::storage::sqlite::operator::OperatorRemoval;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::{
    AttemptRecord, ClaimRequest, ClaimedDelivery, CompanyScope, CompanyStore, DataSubject, DeliveryAdmin,
    DeliveryChange, DeliveryFilter, DeliveryPlan, DeliveryQueue, HandlerRow, Journal, LeaseToken, NewEvent,
    PlanOutcome, PlannedDelivery, PlannedProgress, PurgeBatch, PurgeCursor, QueueUpdate, RetentionKind, RetentionStore,
    Seq, SettledDelivery, Settlement,
};

const DAY_MS: i64 = 86_400_000;
const HANDLERS: [&str; 2] = ["crm", "log"];
const COUNT_ATTEMPTS: &str = "SELECT name, outcome, count(*) FROM
    (SELECT h.name, 'done' AS outcome FROM deliveries d JOIN handlers h ON h.id = d.handler_id
     WHERE d.started_at_ms IS NOT NULL
     UNION ALL SELECT h.name, a.outcome FROM attempts a JOIN handlers h ON h.id = a.handler_id)
    GROUP BY 1, 2";

#[derive(Clone, Copy, Debug)]
enum EndOfAttempt {
    Done,
    DoneWithAnswer,
    Retry,
    Fail,
    /// No attempt is recorded.
    Released,
}

#[derive(Clone, Debug)]
enum Change {
    /// An event of this company and call, which both handlers get. With an end it is attempted before its deliveries are
    /// stored.
    Append(i64, u8, Option<EndOfAttempt>),
    /// All due deliveries of a handler are attempted; the ends are used in turn.
    Attempt(i64, Vec<EndOfAttempt>, i64),
    Bulk(DeliveryChange),
    Purge(RetentionKind, i64),
    EraseCall(u8),
    /// Texts of attempts that mention a person, also those of other calls.
    EraseTexts,
}

fn any_change() -> impl Strategy<Value = Change> {
    use EndOfAttempt::{Done, DoneWithAnswer, Fail, Released, Retry};
    let end =
        prop_oneof![3 => Just(Done), 1 => Just(DoneWithAnswer), 2 => Just(Retry), 2 => Just(Fail), 1 => Just(Released)];
    let change = prop_oneof![
        Just(DeliveryChange::Replay),
        Just(DeliveryChange::Retry),
        Just(DeliveryChange::Cancel),
        Just(DeliveryChange::Discard)
    ];
    let kind = prop_oneof![
        Just(RetentionKind::Events),
        Just(RetentionKind::Deliveries),
        Just(RetentionKind::Attempts),
        Just(RetentionKind::Calls)
    ];
    prop_oneof![
        3 => (1..3_i64, 1..4_u8, proptest::option::of(end.clone()))
            .prop_map(|(company, call, end)| Change::Append(company, call, end)),
        4 => (1..3_i64, proptest::collection::vec(end, 1..4), 0..40_000_i64)
            .prop_map(|(handler, ends, duration_ms)| Change::Attempt(handler, ends, duration_ms)),
        2 => change.prop_map(Change::Bulk),
        1 => (kind, 0..40_i64).prop_map(|(kind, days)| Change::Purge(kind, days)),
        1 => (1..4_u8).prop_map(Change::EraseCall),
        1 => Just(Change::EraseTexts),
    ]
}

struct AttemptFixture {
    base: Fixture,
    ids: EventIdGenerator,
    removal: OperatorRemoval,
    now_ms: i64,
}

impl AttemptFixture {
    async fn new() -> Self {
        let base = Fixture::new();
        base.store.get_or_create_company_ids(vec!["acme".into()]).await.unwrap();
        for name in HANDLERS {
            let row = HandlerRow { name: name.into(), ordered: name == "crm", ordering_timeout_ms: 0 };
            base.store.register_handler(row).await.unwrap();
        }
        let removal = OperatorRemoval::open(&base.url, &SyncState::of_command(&base.url)).unwrap();
        Self { base, ids: EventIdGenerator::default(), removal, now_ms: START_MS }
    }

    async fn apply(&mut self, change: &Change) {
        // About ten changes a day, at uneven times of the day.
        self.now_ms += 7_919_000;
        match change {
            Change::Append(company, call, end) => self.append(*company, *call, *end).await,
            Change::Attempt(handler, ends, duration_ms) => self.attempt(*handler, ends, *duration_ms).await,
            Change::Bulk(change) => self.change_all(*change).await,
            Change::Purge(kind, days) => self.purge(*kind, *days).await,
            Change::EraseCall(call) => self.erase_call(*call),
            Change::EraseTexts => {
                let person = DataSubject::new(Some("+12025550143".parse().unwrap()), None);
                self.removal.erase_related_rows(&person).unwrap();
            }
        }
    }

    async fn append(&self, company: i64, call: u8, end: Option<EndOfAttempt>) {
        let id = self.ids.next_id(self.now_ms);
        let body = Bytes::from(format!("body {id}"));
        let event = NewEvent {
            kind: Some("call_ended".into()),
            call_id: Some(format!("call_{call}")),
            ..NewEvent::new(id, CompanyId::new(company), self.now_ms, body)
        };
        self.base.store.append(event).await.unwrap();
        for handler in 1..=2 {
            let handler = HandlerId(handler);
            let batch = self.base.store.next_plan_batch(handler, 100, false).await.unwrap().unwrap();
            let deliveries = batch.events.iter().map(|(event, _)| {
                let mut planned = PlannedDelivery::new(event.seq);
                if let Some(end) = end {
                    let settled = self.settle((event.seq, batch.lease(event.seq)), 1, end, 20);
                    planned.progress = PlannedProgress::Ended(Box::new(settled));
                }
                planned
            });
            let deliveries = deliveries.collect();
            let plan = DeliveryPlan { token: batch.token, deliveries, events: batch.events, lease_until_ms: 0 };
            let update = QueueUpdate { now_ms: self.now_ms, plan: Some(plan), ..QueueUpdate::default() };
            let outcome = self.base.store.update_queue(handler, Arc::new(update)).await.unwrap();
            assert_eq!(outcome.planned.unwrap(), Some(PlanOutcome::Planned));
        }
    }

    async fn attempt(&self, handler: i64, ends: &[EndOfAttempt], duration_ms: i64) {
        let handler = HandlerId(handler);
        let claim = ClaimRequest {
            now_ms: self.now_ms,
            lease_until_ms: self.now_ms + 1,
            due_before_ms: self.now_ms,
            limit: 9,
            prefer_untried: false,
            limit_per_company: 9,
            prefetched_by_company: BTreeMap::new(),
            limit_bytes: 1_000_000,
            after_company_id: CompanyId::new(0),
        };
        let claimed = self.base.store.claim_deliveries(handler, claim).await.unwrap();
        let ends = ends.iter().cycle();
        let settle = |(claimed, end): (&ClaimedDelivery, &EndOfAttempt)| {
            let delivery = (claimed.event.summary.seq, claimed.lease);
            self.settle(delivery, claimed.previous_attempts + 1, *end, duration_ms)
        };
        let settled: Vec<_> = claimed.iter().zip(ends).map(settle).collect();
        // A settlement that is sent again changes nothing.
        self.base.store.settle_deliveries(handler, settled.clone(), self.now_ms).await.unwrap();
        self.base.store.settle_deliveries(handler, settled, self.now_ms).await.unwrap();
    }

    fn settle(
        &self,
        (seq, lease): (Seq, LeaseToken),
        attempt: u32,
        end: EndOfAttempt,
        duration_ms: i64,
    ) -> SettledDelivery {
        let error = || "no answer to +12025550143".to_owned();
        let (outcome, settlement) = match end {
            EndOfAttempt::Done | EndOfAttempt::DoneWithAnswer => (AttemptOutcome::Done, Settlement::Succeeded),
            EndOfAttempt::Retry => {
                let scheduled = Settlement::Scheduled { next_attempt_at_ms: self.now_ms, error: error() };
                (AttemptOutcome::Retry, scheduled)
            }
            EndOfAttempt::Fail => (AttemptOutcome::Fail, Settlement::Dead { error: error() }),
            EndOfAttempt::Released => (AttemptOutcome::Fail, Settlement::Released),
        };
        let has_text = !matches!(end, EndOfAttempt::Done);
        let attempt = AttemptRecord {
            attempt,
            started_at_ms: self.now_ms - duration_ms,
            duration_ms,
            outcome,
            status: Some(200),
            error: None,
            answer: has_text.then(|| "thanks, +12025550143".to_owned()),
        };
        SettledDelivery {
            attempt: (!matches!(end, EndOfAttempt::Released)).then_some(attempt),
            ..SettledDelivery::without_attempt(seq, lease, settlement)
        }
    }

    async fn change_all(&self, change: DeliveryChange) {
        let states = change.allowed_states().to_vec();
        let filter = DeliveryFilter { states: Some(states), ..DeliveryFilter::default() };
        let mut selection = self.base.store.select_deliveries(filter).await.unwrap();
        while selection.change_next(change, 3, self.now_ms).await.unwrap().is_some() {}
    }

    async fn purge(&self, kind: RetentionKind, days: i64) {
        let mut purge = PurgeBatch {
            kind,
            company_scope: CompanyScope::AllExcept(vec!["acme".into()]),
            before_ms: START_MS + days * DAY_MS / 10,
            cursor: PurgeCursor::default(),
            limit: 3,
            protecting_handlers: None,
            now_ms: self.now_ms,
        };
        loop {
            let purged = self.base.store.purge_batch(purge.clone()).await.unwrap();
            let Some(cursor) = purged.next_cursor else { return };
            purge.cursor = cursor;
        }
    }

    fn erase_call(&mut self, call: u8) {
        let mut person = DataSubject::default();
        person.add_calls([(CompanyId::new(1), format!("call_{call}"))]);
        let seqs = Vec::from_iter(self.removal.list_event_seqs_of_calls(person.calls()).unwrap());
        self.removal.erase_events(&seqs, self.now_ms).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn totals_equal_a_count_of_the_attempts_after_every_change(
        changes in proptest::collection::vec(any_change(), 5..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut fixture = AttemptFixture::new().await;
            for change in changes {
                fixture.apply(&change).await;
                let stats = fixture.base.store.attempt_stats(ALL).await.unwrap();
                fixture.base.assert_exact(TotalsTable::Attempts, &stats, COUNT_ATTEMPTS);
            }
        });
    }
}
