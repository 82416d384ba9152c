//! The conformance suite: the contracts of the facets as tests that every engine passes. One file per facet, one function
//! per promise. The functions use nothing but the facets, so they hold for any engine.
//!
//! An engine runs them with [`conformance_tests`]. A new function is added to the list there; the compiler reports one
//! that is not listed as unused.

pub(super) mod alarms;
pub(super) mod appointments;
pub(super) mod backup;
pub(super) mod calls;
pub(super) mod companies;
pub(super) mod delivery_admin;
pub(super) mod delivery_queue;
pub(super) mod delivery_upkeep;
pub(super) mod erasure;
pub(super) mod inbound;
pub(super) mod invocations;
pub(super) mod journal;
pub(super) mod leadership;
pub(super) mod rejected;
pub(super) mod retention;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    ClaimRequest, ClaimedDelivery, DEFAULT_COMPANY_ID, HandlerId, HandlerRow, NewEvent, PlanOutcome, PlannedDelivery,
    Role, Seq, Store,
};
use crate::base::id::{CompanyId, EventIdGenerator};
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;

/// Makes one test per promise. `$new_database` returns the URL of an empty database, and a value that keeps it until the
/// end of the test.
macro_rules! conformance_tests {
    ($new_database:path) => {
        crate::storage::conformance::conformance_tests! { $new_database;
            alarms: [
                alarms_are_raised_and_resolved_one_by_one,
                event_counts_are_added_and_old_hours_deleted,
            ];
            appointments: [
                overlapping_times_are_booked_once,
                concurrent_bookings_share_no_place,
                a_confirmation_number_is_used_once,
                a_repeated_invocation_gets_its_first_outcome,
                a_change_is_appended_to_the_journal,
                an_operator_cancels_while_the_receiver_runs,
                expired_slots_and_outcomes_are_deleted,
            ];
            backup: [
                a_copy_has_the_events_of_its_moment,
                a_stopped_copy_fails_and_the_store_is_unchanged,
                recorded_backups_are_listed_until_they_are_forgotten,
                logged_persons_are_found_by_their_digests,
            ];
            calls: [
                events_of_a_call_are_merged_into_one_record,
                calls_are_listed_by_their_latest_event,
                a_customer_is_the_caller_or_the_callee,
            ];
            companies: [
                a_company_keeps_its_id,
            ];
            delivery_admin: [
                replayed_deliveries_precede_pending_ones_of_their_call,
                running_deliveries_are_not_changed,
                canceling_the_head_makes_the_next_delivery_due,
                a_retried_delivery_is_due_now_and_later_ones_wait,
                a_replay_inserts_a_delivery_for_a_planned_event,
                a_selection_visits_each_delivery_once_up_to_the_end_of_the_journal,
                counts_and_lists_show_the_selected_deliveries,
            ];
            delivery_queue: [
                claims_are_shared_between_companies,
                a_claim_takes_one_delivery_per_call_and_bounds_body_bytes,
                untried_deliveries_are_preferred_on_request,
                late_settlements_are_refused,
                a_renewed_lease_ends_later,
                a_batch_is_planned_once,
                concurrent_claims_share_no_delivery,
                concurrent_claims_take_one_delivery_of_a_call,
                concurrent_plans_of_a_batch_are_one,
                a_new_handler_gets_later_events_only,
                breaker_states_are_listed_until_the_handler_is_registered_again,
            ];
            delivery_upkeep: [
                dead_deliveries_resume_when_their_bodies_can_be_read,
                future_times_keep_their_wait_and_hold_back_no_call,
                a_delivery_released_after_the_clock_was_set_back_is_due,
            ];
            erasure: [
                an_erased_event_is_not_stored_again,
                deliveries_of_an_erased_event_end_and_late_attempts_are_not_recorded,
                a_phone_number_is_found_in_events_and_calls,
            ];
            inbound: [
                the_first_answer_to_a_request_stays,
            ];
            invocations: [
                an_answered_invocation_is_replayed_and_any_other_runs_again,
                an_invocation_belongs_to_its_receiver_until_its_lease_ends,
                an_outdated_invocation_is_replaced_by_one_process,
                a_failed_run_is_repeated_by_any_receiver,
                a_signature_stays_bound_to_its_first_use_until_it_is_purged,
            ];
            journal: [
                an_event_is_read_back_as_it_was_appended,
                large_bodies_are_read_back_whole_and_in_order,
                the_same_body_is_one_event_and_another_one_a_revision,
                concurrent_requests_with_the_same_body_are_one_event,
                a_reader_continues_at_its_position,
                events_are_listed_by_filter,
                appended_events_wake_subscribers,
                a_closed_store_keeps_its_events_and_accepts_no_more,
            ];
            leadership: [
                one_receiver_leads_until_its_term_ends,
                one_of_several_concurrent_receivers_leads,
                only_the_leader_resigns,
            ];
            rejected: [
                the_latest_rejected_requests_are_kept,
                a_rejected_request_is_read_back_with_its_body,
            ];
            retention: [
                events_are_purged_in_batches_and_their_numbers_are_not_reused,
                an_operator_purges_while_a_receiver_is_running,
                a_purged_event_is_new_when_it_is_sent_again,
                unfinished_deliveries_protect_their_event,
                finished_deliveries_are_purged_without_their_events,
                a_purge_is_limited_to_its_companies,
                calls_and_rejected_requests_have_separate_limits,
            ];
        }
    };
    ($new_database:path; $($facet:ident: [$($promise:ident),* $(,)?];)*) => {$(
        mod $facet {
            use crate::storage::conformance::{$facet, TestStore};
            $(
                #[tokio::test]
                async fn $promise() {
                    let (url, _database) = $new_database();
                    $facet::$promise(TestStore::open(url)).await;
                }
            )*
        }
    )*};
}

pub(in crate::storage) use conformance_tests;

/// A fixed time, in milliseconds since the Unix epoch.
const NOW_MS: i64 = 1_790_000_000_000;
const LEASE_MS: i64 = 30_000;

/// Claims everything that is due at this time.
fn claim_request(now_ms: i64) -> ClaimRequest {
    ClaimRequest {
        now_ms,
        lease_until_ms: now_ms + LEASE_MS,
        due_before_ms: now_ms,
        limit: 100,
        prefer_untried: false,
        limit_per_company: 100,
        prefetched_by_company: BTreeMap::new(),
        limit_bytes: u64::MAX,
        after_company_id: CompanyId::new(0),
    }
}

/// The store of a receiver. Dereferences to the store.
pub(in crate::storage) struct TestStore {
    url: StorageUrl,
    store: Arc<dyn Store>,
    supervisor: Supervisor,
    event_ids: EventIdGenerator,
}

impl Deref for TestStore {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl TestStore {
    pub(in crate::storage) fn open(url: StorageUrl) -> Self {
        let supervisor = Supervisor::default();
        let store = super::open(&url, Role::Receiver, &supervisor).unwrap();
        Self { url, store, supervisor, event_ids: EventIdGenerator::default() }
    }

    /// Stops the receiver and starts it again on the same database.
    async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        self.supervisor.stop();
        Self::open(self.url)
    }

    /// The same database as another process opens it while the receiver is running.
    fn open_as(&self, role: Role) -> Arc<dyn Store> {
        super::open(&self.url, role, &self.supervisor).unwrap()
    }

    /// A `call_ended` event of this call, received at [`NOW_MS`], that is not stored yet.
    fn new_event(&self, call_id: &str, body: &str) -> NewEvent {
        NewEvent {
            kind: Some("call_ended".into()),
            call_id: Some(call_id.into()),
            revisable: true,
            ..NewEvent::new(
                self.event_ids.next_id(NOW_MS),
                DEFAULT_COMPANY_ID,
                NOW_MS,
                Bytes::copy_from_slice(body.as_bytes()),
            )
        }
    }

    /// Stores an event and returns its sequence number.
    async fn append_event(&self, event: NewEvent) -> Seq {
        let id = event.id;
        self.append(event).await.unwrap();
        self.get_event(id).await.unwrap().unwrap().summary.seq
    }

    /// Plans a delivery for every event that this handler has not planned yet.
    async fn plan_all(&self, handler: HandlerId) {
        while let Some(batch) = self.next_plan_batch(handler, 100, false).await.unwrap() {
            let planned = batch.events.iter().map(|(event, _)| PlannedDelivery::new(event.seq));
            let outcome = self.plan_deliveries(handler, batch.token, planned.collect(), NOW_MS).await.unwrap();
            assert_eq!(outcome, PlanOutcome::Planned);
        }
    }

    /// Claims everything that is due at this time, for [`LEASE_MS`].
    async fn claim(&self, handler: HandlerId, now_ms: i64) -> Vec<ClaimedDelivery> {
        self.claim_deliveries(handler, claim_request(now_ms)).await.unwrap()
    }

    /// Registers an ordered handler whose deliveries hold back their call for `ordering_timeout_ms`.
    async fn register(&self, name: &str, ordering_timeout_ms: i64) -> HandlerId {
        let row = HandlerRow { name: name.into(), ordered: true, ordering_timeout_ms };
        self.register_handler(row).await.unwrap()
    }
}
