//! Invocations of custom functions.

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use super::StoreError;

/// Where an invocation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InvocationState {
    /// The function is being called; or it was, when the process died.
    Running,
    /// It has answered.
    Done,
    /// The arguments could not be used; the model was told why.
    InvalidArguments,
    /// It could not be done; the fallback was sent.
    Failed,
}

impl InvocationState {
    /// Its name, as it is kept.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::InvalidArguments => "invalid_arguments",
            Self::Failed => "failed",
        }
    }

    /// The state of this name; any other counts as running.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Self {
        [Self::Done, Self::InvalidArguments, Self::Failed]
            .into_iter()
            .find(|s| s.as_str() == name)
            .unwrap_or(Self::Running)
    }
}

/// A signature, and what it may be used for: that for which it was used first.
#[derive(Clone, Debug)]
pub(crate) struct SignatureUse {
    /// Hash of the signature.
    pub signature_hash: [u8; 32],
    /// Hash of what it is used for.
    pub purpose_hash: [u8; 32],
    /// Milliseconds since the Unix epoch.
    pub seen_at_ms: i64,
}

/// An invocation that is about to begin.
#[derive(Clone)]
pub(crate) struct NewInvocation {
    /// What makes two requests one invocation, as a hash.
    pub key: [u8; 32],
    /// An invocation of the same key that began before then is another one. Milliseconds since the Unix epoch.
    pub reuse_since_ms: i64,
    /// The idempotency key, unless it began earlier and has one.
    pub idempotency_key: String,
    /// Whose it is.
    pub company_id: i64,
    /// The function's name.
    pub function: String,
    /// The call or chat in which it is called.
    pub call_id: Option<String>,
    /// The model's id of it.
    pub tool_call_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The arguments as JSON; `None` when they are too large to keep.
    pub arguments: Option<String>,
    /// The signature of its request; `None` when verification is off.
    pub signature: Option<SignatureUse>,
}

/// What is to be done with an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BeginInvocationOutcome {
    /// The function is to be called, for the `runs`th time.
    Run {
        /// The idempotency key.
        idempotency_key: String,
        /// 1 for the first time.
        run_number: u32,
        /// Whether this very request came before: its signature is known.
        signature_seen: bool,
    },
    /// It has answered already.
    AlreadyAnswered {
        /// The idempotency key.
        idempotency_key: String,
        /// What it answered.
        answer: StoredAnswer,
        /// Whether this very request came before: its signature is known.
        signature_seen: bool,
    },
    /// The signature was used for something else before; nothing was written.
    SignatureReused,
}

/// An answer as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredAnswer {
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub body: Bytes,
    /// Whether it was cut to what Retell passes on.
    pub truncated: bool,
}

/// What came of an invocation.
#[derive(Clone)]
pub(crate) struct EndedInvocation {
    /// What it was begun with.
    pub key: [u8; 32],
    /// Where it stands now.
    pub state: InvocationState,
    /// Milliseconds since the Unix epoch.
    pub ended_at_ms: i64,
    /// What was answered.
    pub answer: StoredAnswer,
    /// What went wrong, without personal data.
    pub reason: Option<String>,
}

/// A row of the ledger.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InvocationRow {
    /// The idempotency key.
    #[serde(rename = "invocation")]
    pub idempotency_key: String,
    /// The company's slug.
    pub company: String,
    /// The function's name.
    pub function: String,
    /// The call or chat in which it was called.
    pub call_id: Option<String>,
    /// The model's id of it.
    pub tool_call_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// Milliseconds since the Unix epoch; `None` while it runs.
    pub ended_at_ms: Option<i64>,
    /// Where it stands.
    pub state: InvocationState,
    /// How often the function was called.
    pub runs: u32,
    /// The arguments as JSON.
    pub arguments: Option<String>,
    /// What was answered.
    pub answer: Option<String>,
    /// Whether the answer was cut to what Retell passes on.
    pub truncated: bool,
    /// What went wrong.
    pub reason: Option<String>,
}

/// Which invocations; all that is set must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct InvocationFilter {
    /// The one of this idempotency key.
    pub idempotency_key: Option<String>,
    /// Those of this function.
    pub function: Option<String>,
    /// Those in this call or chat.
    pub call_id: Option<String>,
    /// Those that stand so.
    pub state: Option<InvocationState>,
}

/// The ledger of invocations. `Ok` from what writes means that it outlives the process; it is synced to disk soon after.
#[async_trait]
pub(crate) trait InvocationStore: Send + Sync {
    /// Writes down that an invocation begins, unless it has been answered already.
    ///
    /// # Errors
    /// [`StoreError`]: the function must not be called.
    async fn begin_invocation(&self, new: NewInvocation) -> Result<BeginInvocationOutcome, StoreError>;

    /// Writes down what came of it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn end_invocation(&self, ended: EndedInvocation) -> Result<(), StoreError>;

    /// Whether a signature may be used for this, a function or an event: it is new, or was used for the same before.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn use_signature(&self, signature: SignatureUse) -> Result<bool, StoreError>;

    /// Removes at most `limit` rows of each kind: invocations received before `before_ms`, and signatures seen before
    /// `signatures_before_ms`. Says how many went.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn purge_invocations(
        &self,
        before_ms: i64,
        signatures_before_ms: i64,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// The latest of these first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_invocations(&self, filter: InvocationFilter, limit: usize) -> Result<Vec<InvocationRow>, StoreError>;
}
