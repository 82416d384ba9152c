//! An invocation of a function and its result, without any trace of how the request arrived: the routes make one from
//! an HTTP request, and code in this process can make one as well.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::answer;
use super::invocation_key::{self, InvocationKey};
use super::payload::FunctionPayload;
use super::registry::RegisteredFunction;
use crate::storage::{SignatureUse, StoredAnswer};
use crate::telemetry::functions::FunctionRequestOutcome;
use crate::tenants::Company;

/// How long a function may continue after its fallback was sent. Its late answer is stored for a retry, which then
/// does not run the function a second time.
const LATE_ANSWER_GRACE: Duration = Duration::from_secs(30);

/// A request to run a function, with the key that decides which other requests are the same invocation.
pub(crate) struct Invocation {
    pub(super) function: Arc<RegisteredFunction>,
    /// The company on whose behalf the function runs.
    pub(super) company: Arc<Company>,
    /// The problem, in words for the agent's model, when the request could not be read.
    pub(super) payload: Result<FunctionPayload, String>,
    pub(super) original: OriginalRequest,
    pub(super) key: InvocationKey,
    pub(super) received_at: std::time::Instant,
    /// The same moment in milliseconds since the Unix epoch.
    pub(super) received_at_ms: i64,
}

/// What the sender sent besides the payload. Empty for an invocation that begins in this process.
#[derive(Default)]
pub(crate) struct OriginalRequest {
    /// Passed on to a URL unchanged. Without it the URL gets an envelope with the arguments.
    pub(super) body: Bytes,
    /// The query of a request with a body. Without a body the query is the arguments.
    pub(super) query: Option<String>,
    pub(super) signature: Option<String>,
    /// What the verified signature may be used for.
    pub(super) signature_use: Option<SignatureUse>,
}

impl Invocation {
    pub(crate) fn new(
        function: &Arc<RegisteredFunction>,
        company: &Arc<Company>,
        payload: Result<FunctionPayload, String>,
        original: OriginalRequest,
        received_at: std::time::Instant,
        received_at_ms: i64,
    ) -> Self {
        let key = invocation_key::for_request(
            function,
            company.id,
            payload.as_ref().ok(),
            original.signature.as_deref(),
            original.query.as_deref(),
        );
        Self {
            function: Arc::clone(function),
            company: Arc::clone(company),
            payload,
            original,
            key,
            received_at,
            received_at_ms,
        }
    }

    pub(super) fn call_id(&self) -> Option<String> {
        self.payload.as_ref().ok().and_then(|payload| payload.call_id.clone())
    }

    /// When this request gets the fallback. A follower has its own deadline, which differs from that of its leader.
    pub(super) fn deadline(&self) -> Instant {
        Instant::from_std(self.received_at) + self.function.timeout()
    }

    /// When the function itself is canceled.
    pub(super) fn target_deadline(&self) -> Instant {
        let grace = if self.function.policy.may_answer_late { LATE_ANSWER_GRACE } else { Duration::ZERO };
        self.deadline() + grace
    }
}

/// The result of an invocation, shared by all requests for it.
#[derive(Debug)]
pub(crate) enum InvocationResult {
    Answered {
        answer: StoredAnswer,
        outcome: FunctionRequestOutcome,
    },
    /// The request's signature was used for something else before.
    SignatureReused,
}

impl InvocationResult {
    pub(super) fn answer(&self) -> Option<&StoredAnswer> {
        match self {
            Self::Answered { answer, .. } => Some(answer),
            Self::SignatureReused => None,
        }
    }

    pub(super) fn outcome(&self) -> FunctionRequestOutcome {
        match self {
            Self::Answered { outcome, .. } => *outcome,
            Self::SignatureReused => FunctionRequestOutcome::SignatureReused,
        }
    }

    pub(super) fn fallback(entry: &RegisteredFunction, outcome: FunctionRequestOutcome) -> Self {
        let answer = answer::fallback(&entry.settings.name, entry.settings.fallback.as_ref());
        Self::Answered { answer, outcome }
    }
}
