//! Plans that are not stored yet.
//!
//! While a handler has nothing unfinished, its worker attempts the events of a plan before it stores the plan. Most
//! attempts end at once, so their deliveries are inserted with their results: one write instead of a claim and a
//! settlement. After a crash the events are planned and attempted again, as with a lease that has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{NextBatch, Wait, Worker, pause_until};
use crate::config::DeliveryOrdering;
use crate::dispatch::event_read::{EventRead, ReadEvents, ReadPlan};
use crate::dispatch::lease::LeaseTimer;
use crate::dispatch::store_batch::{MAX_ROWS_PER_BATCH, StoredPlan};
use crate::storage::{
    ClaimRoom, ClaimedDelivery, DeliveryPlan, LeaseToken, PlanBatch, PlanToken, PlannedProgress, SettledDelivery,
    Settlement, StoreError, StoredEvent,
};

/// How long a plan waits for the attempts of its events. After that the deliveries are stored as running.
const MAX_WAIT: Duration = Duration::from_millis(20);
/// The same while the journal has further events: the attempts of a full plan take longer.
const MAX_WAIT_WITH_BACKLOG: Duration = Duration::from_millis(100);

/// In the order of the journal. At most two: one that could not be stored, and the one that was read meanwhile.
#[derive(Default)]
pub(super) struct OpenPlans(VecDeque<OpenPlan>);

struct OpenPlan {
    plan: DeliveryPlan,
    /// The events of the plan, while none of them has been attempted.
    unattempted: Option<PlanBatch>,
    /// When it is stored at the latest.
    store_at: Instant,
}

impl OpenPlans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a plan back that could not be stored.
    pub(super) fn restore(&mut self, plan: DeliveryPlan) {
        self.0.push_front(OpenPlan { plan, unattempted: None, store_at: Instant::now() });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Worker {
    /// The leases of deliveries that have no row yet.
    pub(in crate::dispatch) fn leases_without_row(&self) -> BTreeSet<LeaseToken> {
        self.open_plans.0.iter().flat_map(|open| running_leases(&open.plan)).collect()
    }

    /// Starts to read the next events, `after` a plan that is being stored.
    pub(super) fn start_reading(&mut self, after: Option<PlanToken>) {
        // Before the read: events appended while it runs wake `wait_for_events` at once.
        self.wake_ups.mark_seen();
        self.known.check_external_changes(&self.wake_ups);
        let read = EventRead {
            queue: self.deps.queue.clone(),
            registered: self.handler.clone(),
            handler_id: self.handler_id,
            position: self.known.position(after, self.has_prefetch_room()),
            limit: if self.merges_calls { MAX_ROWS_PER_BATCH / 2 } else { MAX_ROWS_PER_BATCH },
        };
        self.reading = Some(Box::pin(read.run()));
    }

    /// Takes over events that were read, and attempts them at once if nothing stands against it.
    pub(super) fn apply_read(&mut self, read: Result<ReadEvents, StoreError>) {
        self.reading = None;
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                self.known.record_failed_read();
                self.read_error = Some(error);
                return;
            }
        };
        self.known.record_read(&read);
        let Some(ReadPlan { plan, batch }) = read.plan else { return };
        let wait = if self.known.may_have_more() { MAX_WAIT_WITH_BACKLOG } else { Duration::ZERO };
        self.open_plans.0.push_back(OpenPlan { plan, unattempted: batch, store_at: Instant::now() + wait });
        self.attempt_open_plan();
    }

    /// Attempts the events of the first plan if nothing stands against it.
    fn attempt_open_plan(&mut self) {
        if !self.may_attempt_unstored() {
            return;
        }
        let Some(mut open) = self.open_plans.0.pop_front() else { return };
        if let Some(batch) = open.unattempted.take()
            && self.push_unstored(&mut open.plan, &batch)
        {
            let wait = if self.known.may_have_more() { MAX_WAIT_WITH_BACKLOG } else { MAX_WAIT };
            open.store_at = Instant::now() + wait;
        }
        self.open_plans.0.push_front(open);
        self.start_attempts();
    }

    /// Whether events may be attempted before their deliveries are stored: every earlier delivery of the handler has ended,
    /// so none of the same call can be waiting, and no other receiver plans the same events.
    fn may_attempt_unstored(&self) -> bool {
        let unstored = &self.unstored_settlements;
        self.deps.is_only_receiver
            && self.handler.enabled
            && self.stores_ended_only
            && self.prefetch.is_idle()
            && self.known.unfinished() == Some(unstored.len())
            && unstored.iter().all(|settled| is_final(&settled.settlement))
    }

    /// Queues the deliveries that may be attempted before they are stored: of each call the first. Returns whether there
    /// are any.
    fn push_unstored(&mut self, plan: &mut DeliveryPlan, batch: &PlanBatch) -> bool {
        let Some(claim) = self.build_claim() else { return false };
        let mut room = ClaimRoom::new(&claim);
        let is_ordered = self.handler.delivery.ordering == DeliveryOrdering::Call;
        let mut calls = BTreeSet::new();
        let mut events = plan.events.iter();
        for planned in &mut plan.deliveries {
            let Some((event, body)) = events.find(|(event, _)| event.seq == planned.seq) else { break };
            let is_first = !is_ordered || event.call_id.as_deref().is_none_or(|call_id| calls.insert(call_id));
            let Some(body) = body.as_ref().filter(|_| is_first && planned.skip_reason.is_none()) else { continue };
            if !room.try_take(event.company_id, event.size_bytes) {
                continue;
            }
            let lease = batch.lease(event.seq);
            planned.progress = PlannedProgress::Running(lease);
            self.prefetch.push(ClaimedDelivery {
                event: StoredEvent { summary: event.clone(), body: Ok(body.clone()) },
                lease,
                previous_attempts: 0,
                queued_at_ms: claim.now_ms,
                is_replay: false,
                body_unread: false,
                is_untried: true,
                has_followers: false,
            });
        }
        self.prefetch_share.resize(self.prefetch.held_bytes(), 0);
        !self.prefetch.is_idle()
    }

    /// The next plan to store, with the results of attempts that have ended.
    pub(super) fn take_plan(&mut self) -> Option<DeliveryPlan> {
        let OpenPlan { mut plan, .. } = self.open_plans.0.pop_front()?;
        let leases: BTreeSet<_> = running_leases(&plan).collect();
        if !leases.is_empty() {
            let settled = std::mem::take(&mut self.unstored_settlements);
            let (of_plan, others) = settled.into_iter().partition(|settled| leases.contains(&settled.lease));
            self.unstored_settlements = others;
            let of_plan: Vec<_> = of_plan;
            let mut of_plan: BTreeMap<_, _> = of_plan.into_iter().map(|settled| (settled.lease, settled)).collect();
            for planned in &mut plan.deliveries {
                if let PlannedProgress::Running(lease) = planned.progress
                    && let Some(settled) = of_plan.remove(&lease)
                {
                    planned.progress = PlannedProgress::Ended(Box::new(settled));
                }
            }
        }
        plan.lease_until_ms = LeaseTimer::end_ms(self.now_ms());
        self.stores_ended_only = plan.deliveries.iter().all(|planned| match &planned.progress {
            PlannedProgress::Ended(settled) => is_final(&settled.settlement),
            PlannedProgress::Waiting => planned.skip_reason.is_some(),
            PlannedProgress::Running(_) => false,
        });
        Some(plan)
    }

    /// The settlements for the next store batch. Those of an open plan are stored with it: until then the deliveries have no
    /// row that could be settled.
    pub(super) fn take_settlements(&mut self) -> Vec<SettledDelivery> {
        let without_row = self.leases_without_row();
        let (waiting, mut settled): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unstored_settlements)
            .into_iter()
            .partition(|settled| without_row.contains(&settled.lease));
        self.unstored_settlements = waiting;
        self.unstored_settlements.extend(settled.drain(MAX_ROWS_PER_BATCH.min(settled.len())..));
        settled
    }

    /// Takes over whether a store batch has stored its plan.
    pub(super) fn apply_plan(&mut self, plan: Option<StoredPlan>) {
        self.stores_ended_only = true;
        match plan {
            Some(StoredPlan::Stored(token)) => self.known.record_stored_plan(token),
            Some(StoredPlan::Stale) => self.drop_plans(),
            Some(StoredPlan::Failed(plan)) => self.open_plans.restore(plan),
            None => {}
        }
    }

    /// Drops what was read, and what was queued of it, after others have planned the same events.
    fn drop_plans(&mut self) {
        let leases = self.leases_without_row();
        self.prefetch.remove_matching(|claimed| leases.contains(&claimed.lease).then_some(()));
        self.open_plans.clear();
        self.reading = None;
        self.known.forget_position();
    }

    /// Stores the first plan, or waits for its attempts. With a backlog the plan also waits a little for earlier deliveries
    /// to end: were it stored now, its events could not be attempted before, and neither could those after it.
    pub(super) fn store_or_wait(&mut self) -> NextBatch {
        // Not before: something may have been unfinished when the plan was read.
        self.attempt_open_plan();
        let waiting = self.open_plans.0.front().filter(|open| Instant::now() < open.store_at);
        let Some(OpenPlan { unattempted, store_at, .. }) = waiting else { return self.start_batch(true) };
        let is_held = unattempted.is_some();
        let can_end_earlier =
            self.pacing.has_backlog || (self.prefetch.is_idle() && !self.unstored_settlements.is_empty());
        if is_held && can_end_earlier {
            return self.start_batch(false);
        }
        if self.prefetch.is_idle() {
            return self.start_batch(true);
        }
        let pause = pause_until(*store_at);
        self.wait = Wait::Attempts;
        pause
    }
}

fn running_leases(plan: &DeliveryPlan) -> impl Iterator<Item = LeaseToken> {
    plan.deliveries.iter().filter_map(|planned| match planned.progress {
        PlannedProgress::Running(lease) => Some(lease),
        _ => None,
    })
}

/// Whether later events of the call need not wait any more.
fn is_final(settlement: &Settlement) -> bool {
    match settlement {
        Settlement::Succeeded | Settlement::Dead { .. } | Settlement::Skipped { .. } => true,
        Settlement::Scheduled { .. } | Settlement::Released => false,
    }
}
