//! Second stage of a request for a function: requests for one invocation share its run, and each gets an answer before
//! its own deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::single_flight::{FlightLeader, FlightRole, SingleFlight};
use super::execute::Executor;
use super::invocation::{Invocation, InvocationResult};
use super::invocation_key::InvocationKey;
use crate::storage::SignatureUse;
use crate::telemetry::functions::FunctionRequestOutcome;

/// How long requests wait for their functions after the service was told to stop. Shorter than the 8 s that the HTTP
/// server waits for open requests, so that the fallback is still sent.
const REQUEST_SHUTDOWN_GRACE: Duration = Duration::from_secs(6);

/// The invocations that are running, and what runs them.
pub(super) struct InvocationDedupe {
    single_flight: SingleFlight<InvocationKey, Arc<InvocationResult>>,
    executor: Arc<Executor>,
}

impl InvocationDedupe {
    pub(super) fn new(executor: Executor) -> Self {
        Self { single_flight: SingleFlight::default(), executor: Arc::new(executor) }
    }

    /// Runs the invocation, or waits for an equal one that is running. Returns the result and the outcome under which
    /// this request is counted.
    pub(super) async fn run(&self, invocation: Invocation) -> (Arc<InvocationResult>, FunctionRequestOutcome) {
        let deadline = invocation.deadline();
        let signature = invocation.original.signature_use.clone();
        let entry = Arc::clone(&invocation.function);
        let fallback = || Arc::new(InvocationResult::fallback(&entry, FunctionRequestOutcome::Failed));
        let mut invocation = Some(invocation);
        loop {
            // A leader moves its invocation into a task and always returns below; only followers come round again.
            let Some(key) = invocation.as_ref().map(|invocation| invocation.key) else {
                return (fallback(), FunctionRequestOutcome::Failed);
            };
            let (follower, leads) = match self.single_flight.join(key) {
                FlightRole::Full => return (fallback(), FunctionRequestOutcome::Failed),
                FlightRole::Leader(leader) => {
                    let follower = leader.follower();
                    self.spawn_leader(leader, invocation.take());
                    (follower, true)
                }
                FlightRole::Follower(follower) => (follower, false),
            };
            let waiting = async {
                // The leader's signature is checked when its invocation begins, in the same transaction. This look-up
                // is part of the wait, so that a locked ledger cannot hold a follower beyond its deadline.
                if !leads && !self.may_share_result(signature.as_ref()).await {
                    return FlightEnd::SignatureReused;
                }
                follower.wait().await.map_or(FlightEnd::LeaderLost, FlightEnd::Result)
            };
            match self.wait_until_deadline(deadline, waiting).await {
                Ok(FlightEnd::SignatureReused) => {
                    return (Arc::new(InvocationResult::SignatureReused), FunctionRequestOutcome::SignatureReused);
                }
                // The leader was rejected for its own signature, which says nothing about this request: join again.
                Ok(FlightEnd::Result(result)) if !leads && result.answer().is_none() => {}
                Ok(FlightEnd::Result(result)) => {
                    let outcome = if leads { result.outcome() } else { FunctionRequestOutcome::Shared };
                    return (result, outcome);
                }
                // The leader's task panicked. Whether the function had its effect is unknown, so it is not called
                // again here.
                Ok(FlightEnd::LeaderLost) => return (fallback(), FunctionRequestOutcome::Failed),
                Err(outcome) => {
                    let function = entry.settings.name.as_str();
                    tracing::warn!(function, outcome = outcome.as_str(), "function fallback sent before its answer");
                    return (fallback(), outcome);
                }
            }
        }
    }

    /// Runs the leader's invocation in its own task. The task continues when the connection breaks or the deadline
    /// passes: the function may have had its effect by then, and its answer has to reach the ledger for a retry.
    fn spawn_leader(&self, leader: FlightLeader<InvocationKey, Arc<InvocationResult>>, invocation: Option<Invocation>) {
        let Some(invocation) = invocation else { return };
        let executor = Arc::clone(&self.executor);
        self.executor.supervisor.spawn_detached(async move {
            // `execute` has written the answer to the ledger when it returns, unless that failed. Only then does the
            // leader leave the map, so a request finds the running invocation or, normally, the stored answer.
            leader.complete(Arc::new(executor.execute(&invocation).await));
        });
    }

    /// Waits until the deadline, or until [`REQUEST_SHUTDOWN_GRACE`] after the service was told to stop. `Err` is the
    /// outcome to count.
    async fn wait_until_deadline<T>(
        &self,
        deadline: Instant,
        waiting: impl Future<Output = T>,
    ) -> Result<T, FunctionRequestOutcome> {
        tokio::select! {
            // In this order: a result that is there at the deadline is sent, not thrown away.
            biased;
            result = waiting => Ok(result),
            () = tokio::time::sleep_until(deadline) => Err(FunctionRequestOutcome::TimedOut),
            () = self.executor.supervisor.wait_for_stop_and_grace(REQUEST_SHUTDOWN_GRACE) => Err(FunctionRequestOutcome::Failed),
        }
    }

    /// Whether a follower's signature allows it to get the leader's answer. Requests of one invocation can carry
    /// different signatures, and each must be unused or used for this function before.
    async fn may_share_result(&self, signature: Option<&SignatureUse>) -> bool {
        let Some(signature) = signature else { return true };
        let usable = self.executor.ledger.use_signature(signature.clone()).await;
        // Without the ledger nothing is known about earlier uses. The request is signed by Retell, so it is answered.
        usable.unwrap_or(true)
    }
}

/// How the wait for an invocation ended before the deadline.
enum FlightEnd {
    Result(Arc<InvocationResult>),
    /// The leader's task ended without a result.
    LeaderLost,
    /// The follower's signature was used for something else before.
    SignatureReused,
}
