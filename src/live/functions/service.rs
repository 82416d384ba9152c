//! The functions of a running receiver.

use std::sync::Arc;
use std::time::Duration;

use super::cleanup;
use super::dedupe::InvocationDedupe;
use super::execute::Executor;
use super::invocation::{Invocation, InvocationResult};
use super::invocation_key::hash_parts;
use super::registry::FunctionRegistry;
use crate::base::clock::Clock;
use crate::base::current::Current;
use crate::base::id::InstanceId;
use crate::base::supervise::Supervisor;
use crate::security::rejection_reason::RejectionReason;
use crate::storage::{InvocationStore, SignatureUse, StoredAnswer};
use crate::telemetry::functions::{FunctionMetrics, FunctionRequestOutcome};
use crate::telemetry::requests::RequestCounters;

/// The purpose of a signature that was used for an event. The purpose of a function is a hash of several
/// length-prefixed parts, so the two are never equal.
const EVENT_SIGNATURE_USE: &[u8] = b"event";
/// How long an event of an unknown kind waits for the ledger to look up its signature.
const SIGNATURE_LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs custom functions. A handle: clones share their state.
#[derive(Clone)]
pub(crate) struct FunctionService(Arc<FunctionServiceInner>);

struct FunctionServiceInner {
    registry: Current<FunctionRegistry>,
    dedupe: InvocationDedupe,
    ledger: Arc<dyn InvocationStore>,
    metrics: FunctionMetrics,
    counters: Arc<RequestCounters>,
}

/// The answer to one request for an invocation.
pub(crate) struct InvocationReply {
    result: Arc<InvocationResult>,
    /// The outcome under which this request is counted.
    pub outcome: FunctionRequestOutcome,
}

impl InvocationReply {
    /// `None` when the request's signature was used for something else before.
    pub(crate) fn answer(&self) -> Option<&StoredAnswer> {
        self.result.answer()
    }
}

impl FunctionService {
    /// Starts the service, and a task that removes old rows from the ledger. `counters` counts requests that are
    /// rejected for a reused signature. `supervisor` runs invocations in tasks that continue when their request ends.
    #[must_use]
    pub(crate) fn start(
        registry: FunctionRegistry,
        ledger: Arc<dyn InvocationStore>,
        instance_id: &InstanceId,
        clock: &Clock,
        metrics: FunctionMetrics,
        counters: Arc<RequestCounters>,
        supervisor: &Supervisor,
    ) -> Self {
        cleanup::start(Arc::clone(&ledger), clock.clone(), supervisor);
        let executor = Executor {
            ledger: Arc::clone(&ledger),
            clock: clock.clone(),
            supervisor: supervisor.clone(),
            instance_id: instance_id.clone(),
        };
        Self(Arc::new(FunctionServiceInner {
            registry: Current::new(registry),
            dedupe: InvocationDedupe::new(executor),
            ledger,
            metrics,
            counters,
        }))
    }

    /// Replaces the functions for requests that arrive from now on. Running invocations keep their own.
    pub(crate) fn replace_registry(&self, registry: FunctionRegistry) {
        self.0.registry.replace(registry);
        self.0.metrics.set_address_warning(None);
    }

    /// The functions at this moment. A request uses one snapshot, so that a reload in the middle changes neither its
    /// settings nor its target.
    pub(super) fn registry(&self) -> Arc<FunctionRegistry> {
        self.0.registry.get()
    }

    /// Runs the invocation, or waits for an equal one that is running. There is an answer before its deadline whatever
    /// the function does.
    pub(crate) async fn invoke(&self, invocation: Invocation) -> InvocationReply {
        let function = Arc::clone(&invocation.function);
        let received_at = invocation.received_at;
        let (result, outcome) = self.0.dedupe.run(invocation).await;
        self.0.metrics.record_duration(received_at.elapsed());
        function.counts.count(outcome);
        InvocationReply { result, outcome }
    }

    /// Reserves the signature for an event. `false` when a request for a function has used it. When the ledger does
    /// not answer within [`SIGNATURE_LOOKUP_TIMEOUT`] the event is accepted: storing one too many is better than
    /// losing one.
    pub(crate) async fn reserve_signature_for_event(&self, signature: &str, at_ms: i64) -> bool {
        // Without functions there is nothing to confuse an event with, and events cost no write to the ledger.
        if self.0.registry.get().is_empty() {
            return true;
        }
        let reservation = self.0.ledger.use_signature(SignatureUse {
            signature_hash: hash_parts(&[signature.as_bytes()]),
            purpose_hash: hash_parts(&[EVENT_SIGNATURE_USE]),
            seen_at_ms: at_ms,
        });
        let is_free = !matches!(tokio::time::timeout(SIGNATURE_LOOKUP_TIMEOUT, reservation).await, Ok(Ok(false)));
        if !is_free {
            self.count_reused_signature();
        }
        is_free
    }

    /// Counts a request whose signature was used for another function or for an event.
    pub(super) fn count_reused_signature(&self) {
        self.0.counters.count_rejected(RejectionReason::SignatureReused);
    }

    /// Whether the company has a function of this name.
    pub(crate) fn has_function(&self, name: &str, company: &str) -> bool {
        self.registry().find(name, company).is_some()
    }

    /// Counts a request for a function that the company does not have.
    pub(super) fn count_unknown_function(&self) {
        self.0.metrics.count_unknown_function();
    }

    /// Counts a call of a function that is not configured, at an address for events. `warning` is shown to operators
    /// until the functions are reloaded.
    pub(crate) fn record_unconfigured_function(&self, warning: String) {
        self.count_unknown_function();
        self.0.metrics.set_address_warning(Some(warning));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use serde_json::{Map, Value, json};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::config::StorageUrl;
    use crate::config::{EgressSettings, ProgramSearchPath};
    use crate::egress::Egress;
    use crate::live::function::ReuseCheck;
    use crate::live::functions::invocation::OriginalRequest;
    use crate::live::functions::payload::FunctionPayload;
    use crate::live::{BuiltInFunction, FunctionContext, FunctionOutcome, FunctionPolicy};
    use crate::outbound::{OutboundContext, RetellSigner};
    use crate::storage::{self, DEFAULT_COMPANY_ID, Role, Store};
    use crate::tenants::Company;

    struct NoSigner;

    impl RetellSigner for NoSigner {
        fn sign(&self, _: &str, _: &[u8], _: i64) -> Option<String> {
            None
        }
    }

    /// A service with one function, `count`, which answers how often it was called once it gets a permit.
    fn waiting_service(
        store: &Arc<dyn Store>,
        supervisor: &Supervisor,
        calls: &Arc<AtomicU64>,
        permits: &Arc<Semaphore>,
        policy: FunctionPolicy,
    ) -> FunctionService {
        let (calls, permits) = (Arc::clone(calls), Arc::clone(permits));
        let count = move |_: Map<String, Value>, _: FunctionContext| {
            let calls = calls.fetch_add(1, Ordering::Relaxed) + 1;
            let permits = Arc::clone(&permits);
            async move {
                permits.acquire().await.unwrap().forget();
                FunctionOutcome::Answer(json!({ "calls": calls }))
            }
        };
        let function = BuiltInFunction {
            name: "count".to_owned(),
            description: String::new(),
            parameters: json!({}),
            function: Arc::new(count),
            policy,
        };
        let outbound = OutboundContext {
            clock: Clock::default(),
            program_search_path: ProgramSearchPath::from_process(),
            egress: Egress::new(&EgressSettings::default()),
            retell_signer: Arc::new(NoSigner),
        };
        let metrics = FunctionMetrics::default();
        let registry = FunctionRegistry::new(&[], &[function], &outbound, &metrics).unwrap();
        let instance_id = InstanceId::random();
        FunctionService::start(
            registry,
            store.clone(),
            &instance_id,
            &Clock::default(),
            metrics,
            Arc::default(),
            supervisor,
        )
    }

    fn default_company() -> Arc<Company> {
        Arc::new(Company {
            id: DEFAULT_COMPANY_ID,
            slug: "default".into(),
            agent_ids: Vec::new(),
            has_development_key_only: false,
            verifier: None,
            signing_key: None,
        })
    }

    fn open_store(folder: &Path, supervisor: &Supervisor) -> Arc<dyn Store> {
        let url = StorageUrl::file(folder.join("store.db"));
        storage::open(&url, Role::Receiver, supervisor).unwrap()
    }

    fn outcome_and_body(reply: &InvocationReply) -> (&'static str, String) {
        (reply.outcome.as_str(), String::from_utf8(reply.answer().unwrap().body.to_vec()).unwrap())
    }

    /// An invocation that begins in this process: without a body, a signature or headers.
    fn invocation(functions: &FunctionService, company: &Arc<Company>, call_id: &str) -> Invocation {
        let function = Arc::clone(functions.registry().find("count", &company.slug).unwrap());
        let payload = FunctionPayload { call_id: Some(call_id.to_owned()), ..FunctionPayload::default() };
        let original = OriginalRequest::default();
        Invocation::new(&function, company, Ok(payload), original, Instant::now(), Clock::default().now_ms())
    }

    #[tokio::test]
    async fn code_in_this_process_invokes_a_function_without_a_request() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::default();
        let store = open_store(folder.path(), &supervisor);
        let permits = Arc::new(Semaphore::new(2));
        let functions = waiting_service(&store, &supervisor, &Arc::default(), &permits, FunctionPolicy::default());
        let company = default_company();
        let mut answers = Vec::new();
        for call_id in ["call_1", "call_1", "call_2"] {
            let reply = functions.invoke(invocation(&functions, &company, call_id)).await;
            answers.push(outcome_and_body(&reply));
        }
        let expected = [("answered", 1), ("duplicate", 1), ("answered", 2)];
        assert_eq!(answers, expected.map(|(outcome, calls)| (outcome, format!(r#"{{"calls":{calls}}}"#))));
        supervisor.stop();
    }

    #[tokio::test]
    async fn an_invocation_that_another_process_runs_gets_its_answer_or_the_fallback() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::default();
        let store = open_store(folder.path(), &supervisor);
        let calls = Arc::new(AtomicU64::new(0));
        let permits = Arc::new(Semaphore::new(0));
        // Two services on one ledger are two owners, as in two processes.
        let one = waiting_service(&store, &supervisor, &calls, &permits, FunctionPolicy::default());
        let other = waiting_service(&store, &supervisor, &calls, &permits, FunctionPolicy::default());
        let company = default_company();
        let run = one.invoke(invocation(&one, &company, "call_1"));
        let repeat = async {
            while calls.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Its deadline is near, as if it had been received earlier.
            let mut late = invocation(&other, &company, "call_1");
            let age = late.function.timeout().checked_sub(Duration::from_secs(1)).unwrap();
            late.received_at = late.received_at.checked_sub(age).unwrap();
            let timed_out = other.invoke(late).await;
            let waiting = other.invoke(invocation(&other, &company, "call_1"));
            let answer_run = async {
                tokio::task::yield_now().await;
                permits.add_permits(1);
            };
            (timed_out, tokio::join!(waiting, answer_run).0)
        };
        let (run, (timed_out, repeated)) = tokio::join!(run, repeat);
        assert_eq!(timed_out.outcome.as_str(), "timed_out");
        let answer = r#"{"calls":1}"#.to_owned();
        assert_eq!(outcome_and_body(&run), ("answered", answer.clone()));
        assert_eq!(outcome_and_body(&repeated), ("duplicate", answer));
        assert_eq!(calls.load(Ordering::Relaxed), 1, "the other service has not called the function");
        supervisor.stop();
    }

    /// Waiting looks up the invocation several times, which does not make the request a repetition of an earlier one.
    #[tokio::test]
    async fn an_outdated_answer_is_replaced_after_waiting_for_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::default();
        let store = open_store(folder.path(), &supervisor);
        let calls = Arc::new(AtomicU64::new(0));
        let permits = Arc::new(Semaphore::new(0));
        let service = || {
            let can_reuse_answer: ReuseCheck = Arc::new(|_| Box::pin(async { false }));
            let policy = FunctionPolicy { can_reuse_answer: Some(can_reuse_answer), ..FunctionPolicy::default() };
            waiting_service(&store, &supervisor, &calls, &permits, policy)
        };
        let (one, other) = (service(), service());
        let company = default_company();
        let run = one.invoke(invocation(&one, &company, "call_1"));
        let later = async {
            while calls.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut signed = invocation(&other, &company, "call_1");
            let signature = SignatureUse { signature_hash: [7; 32], purpose_hash: [1; 32], seen_at_ms: 0 };
            signed.original.signature_use = Some(signature);
            let answer_run = async {
                // Meanwhile the other service waits for the answer.
                tokio::time::sleep(Duration::from_millis(150)).await;
                permits.add_permits(2);
            };
            tokio::join!(other.invoke(signed), answer_run).0
        };
        let (first, second) = tokio::join!(run, later);
        assert_eq!(outcome_and_body(&first), ("answered", r#"{"calls":1}"#.to_owned()));
        assert_eq!(outcome_and_body(&second), ("answered", r#"{"calls":2}"#.to_owned()));
        supervisor.stop();
    }
}
