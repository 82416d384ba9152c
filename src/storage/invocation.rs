//! Invocations of custom functions, as the invocation ledger records them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::base::histogram::LogHistogram;
use crate::base::id::{CompanyId, InstanceId};

/// The state of an invocation in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvocationState {
    /// The function is being called, or was being called when the process ended.
    Running,
    Done,
    /// The arguments do not fit the function; the answer tells the model why.
    InvalidArguments,
    /// The function gave no answer; the fallback was sent.
    Failed,
}

impl InvocationState {
    pub(crate) const ALL: [Self; 4] = [Self::Running, Self::Done, Self::InvalidArguments, Self::Failed];

    /// The name in the ledger and in `--json`.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::InvalidArguments => "invalid_arguments",
            Self::Failed => "failed",
        }
    }

    /// The state with this name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A use of a signature. A signature may only be used for the purpose for which it was used first.
#[derive(Clone, Debug)]
pub struct SignatureUse {
    pub signature_hash: [u8; 32],
    /// Hash of company, function and everything else that the signature does not cover.
    pub purpose_hash: [u8; 32],
    /// Milliseconds since the Unix epoch.
    pub seen_at_ms: i64,
}

/// An invocation that is about to begin.
#[derive(Clone)]
pub struct NewInvocation {
    /// Hash of everything that makes two requests the same invocation.
    pub key: [u8; 32],
    /// Start of the idempotency window: an invocation with the same key that began earlier is a different one.
    /// Milliseconds since the Unix epoch.
    pub reuse_since_ms: i64,
    /// The idempotency key of an earlier invocation with the same key whose answer is outdated. That invocation is treated
    /// as a different one, unless another process is running it.
    pub replaces: Option<String>,
    /// The idempotency key to use if the invocation is new.
    pub idempotency_key: String,
    /// The receiver that is going to run the function.
    pub owner: InstanceId,
    /// The current time, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Until then no other process runs the invocation.
    pub lease_until_ms: i64,
    pub company_id: CompanyId,
    pub function: String,
    /// The call or chat in which the function is called.
    pub call_id: Option<String>,
    /// The id that the model gave to this tool call.
    pub tool_call_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The arguments as JSON; `None` when they are too large to keep.
    pub arguments: Option<String>,
    /// `None` when verification is off.
    pub signature: Option<SignatureUse>,
}

/// How an invocation continues after its request is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginInvocationOutcome {
    /// The function has to be called.
    Run {
        idempotency_key: String,
        /// 1 for the first call of the function under this key.
        run_number: u32,
        /// Whether the same request was received before.
        signature_seen: bool,
    },
    /// The function has answered before; the stored answer is to be sent.
    AlreadyAnswered {
        idempotency_key: String,
        answer: StoredAnswer,
        /// Whether the same request was received before.
        signature_seen: bool,
    },
    /// Another process is calling the function: its run has not ended, and its lease has not expired.
    Running {
        /// Whether the same request was received before.
        signature_seen: bool,
    },
    /// The signature was used for another purpose before; nothing was written.
    SignatureReused,
}

/// An answer of a function, as it was sent to Retell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub content_type: String,
    pub body: Bytes,
    /// Whether the body was cut to the 15,000 characters that Retell passes on.
    pub truncated: bool,
}

/// The outcome of an invocation.
#[derive(Clone)]
pub struct EndedInvocation {
    pub key: [u8; 32],
    /// The receiver that ran the function.
    pub owner: InstanceId,
    pub state: InvocationState,
    /// Milliseconds since the Unix epoch.
    pub ended_at_ms: i64,
    pub answer: StoredAnswer,
    /// The cause of the failure, without personal data.
    pub reason: Option<String>,
}

/// An invocation in the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct InvocationRow {
    #[serde(rename = "invocation")]
    pub idempotency_key: String,
    /// The slug of the company.
    pub company: String,
    pub function: String,
    pub call_id: Option<String>,
    /// The id that the model gave to this tool call.
    pub tool_call_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// Milliseconds since the Unix epoch; `None` while it runs.
    pub ended_at_ms: Option<i64>,
    pub state: InvocationState,
    /// Number of times the function was called.
    pub runs: u32,
    /// The arguments as JSON; `None` when they were too large to keep.
    pub arguments: Option<String>,
    pub answer: Option<String>,
    pub truncated: bool,
    /// The cause of the failure, without personal data.
    pub reason: Option<String>,
}

/// Selects invocations; all set conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvocationFilter {
    pub idempotency_key: Option<String>,
    pub function: Option<String>,
    /// The call or chat in which the function was called.
    pub call_id: Option<String>,
    pub state: Option<InvocationState>,
    pub company: Option<String>,
    /// Received at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
}

/// Selects what is counted, and by what it is grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyFilter {
    /// The name of the only function.
    pub name: Option<String>,
    /// The slug of the only company.
    pub company: Option<String>,
    /// Received at or after this time, in milliseconds since the Unix epoch; rounded down to an hour.
    pub since_ms: Option<i64>,
    /// Received before this time; rounded up to an hour.
    pub until_ms: Option<i64>,
    pub grouping: LatencyGrouping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyGrouping {
    Name,
    Company,
    Day,
    Hour,
}

/// The counts of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyGroup {
    pub by_outcome: BTreeMap<String, u64>,
    /// Durations in milliseconds, of all outcomes together.
    pub durations: LogHistogram,
}

/// The groups by name, by slug, or by the time at which they begin in milliseconds since the Unix epoch.
pub(crate) type LatencyGroups = BTreeMap<LatencyKey, LatencyGroup>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatencyKey {
    Text(String),
    StartMs(i64),
}
