//! Call records: one row per call or chat, merged from its events. Every order of the events gives the same row.

mod cost;
mod sources;
mod stats;
mod totals;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use self::sources::CallMerge;
use crate::base::id::CompanyId;
pub(crate) use cost::Cost;
pub(crate) use sources::ValueSources;
pub(crate) use stats::{CallGroup, CallGrouping, CallStats, CallStatsFilter};
pub(crate) use totals::{CallDimension, CallTotals, CountedCall};

/// How much an event contains about its call. A value from a later stage replaces one from an earlier stage, never the
/// reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStage {
    /// The stage of the events `call_started` and `chat_started`.
    Started = 1,
    /// Events during the call: transcripts, transfers, event kinds that this version does not know.
    Underway = 2,
    /// The stage of the events `call_ended` and `chat_ended`.
    Ended = 3,
    /// The stage of the events `call_analyzed` and `chat_analyzed`.
    Analyzed = 4,
}

impl CallStage {
    /// The stage with this number.
    #[must_use]
    pub fn from_rank(rank: i64) -> Option<Self> {
        match rank {
            1 => Some(Self::Started),
            2 => Some(Self::Underway),
            3 => Some(Self::Ended),
            4 => Some(Self::Analyzed),
            _ => None,
        }
    }
}

/// The kind of a transfer event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    Started,
    Bridged,
    Cancelled,
    Ended,
}

/// Whether a record describes a call or a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    #[default]
    Call,
    /// A chat, by API or text message.
    Chat,
}

impl CallKind {
    /// The name in the store and in `--json`: `call` or `chat`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Chat => "chat",
        }
    }

    /// The name of several: `calls` or `chats`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Call => "calls",
            Self::Chat => "chats",
        }
    }

    /// Whether the id is that of a test. Tests are handled like other calls, except that statistics exclude them.
    #[must_use]
    pub fn is_test(self, id: &str) -> bool {
        id.starts_with(self.test_prefix())
    }

    /// The prefix of the ids that Retell gives to tests.
    #[must_use]
    pub fn test_prefix(self) -> &'static str {
        match self {
            Self::Call => "call_test_",
            Self::Chat => "chat_test_",
        }
    }
}

/// Selects calls or chats; all set conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFilter {
    pub kind: CallKind,
    /// The slug of the company.
    pub company: Option<String>,
    pub agent_id: Option<String>,
    /// Includes test calls, see [`CallKind::is_test`].
    pub include_tests: bool,
    /// The latest event was received at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// The latest event was received before this time.
    pub until_ms: Option<i64>,
    pub limit: usize,
}

/// End-to-end latency of a call: the time from the end of the user's speech to the beginning of the agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct E2eLatency {
    pub p50_ms: Option<i64>,
    pub p90_ms: Option<i64>,
    pub p99_ms: Option<i64>,
}

/// The merged values of a call or chat. Times are milliseconds since the Unix epoch. A value is `None` until an event
/// contains it.
#[derive(Clone, PartialEq, Serialize)]
pub struct CallRecord {
    pub kind: CallKind,
    pub company_id: CompanyId,
    /// The slug of the company.
    pub company: String,
    /// Retell's id of the call or chat.
    pub call_id: String,
    /// The latest stage of any event so far.
    pub stage: CallStage,
    /// `phone_call` or `web_call`; `api_chat` or `sms_chat`.
    pub call_type: Option<String>,
    /// `inbound` or `outbound`, as Retell sends it.
    pub direction: Option<String>,
    pub agent_id: Option<String>,
    pub agent_name: Option<String>,
    pub agent_version: Option<i64>,
    /// The caller's number. Not serialized, because it is personal data.
    #[serde(skip)]
    pub from_number: Option<String>,
    /// The called number. Not serialized, because it is personal data.
    #[serde(skip)]
    pub to_number: Option<String>,
    /// `registered`, `ongoing`, `ended`, `not_connected`, `error`, or a newer value.
    pub call_status: Option<String>,
    pub started_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub duration_ms: Option<i64>,
    /// Retell's reason for the end of the call.
    pub disconnection_reason: Option<String>,
    pub in_voicemail: Option<bool>,
    /// `Positive`, `Neutral`, `Negative` or `Unknown`.
    pub user_sentiment: Option<String>,
    /// Whether the agent reached its goal.
    pub call_successful: Option<bool>,
    /// Combined cost in US cents, as decimal text.
    pub cost_cents: Option<String>,
    pub latency_e2e: Option<E2eLatency>,
    /// Whether an event contained the URL of a recording. The URL itself stays in the event, because it may give
    /// access to the recording.
    pub has_recording: Option<bool>,
    /// Summary of the conversation. Not serialized, because it is personal data.
    #[serde(skip)]
    pub summary: Option<String>,
    /// Custom analysis data as JSON text. Not serialized, because it is personal data.
    #[serde(skip)]
    pub custom_analysis_data: Option<String>,
    /// Transfer events by event id. A map, so that merging an event twice changes nothing.
    #[serde(skip)]
    pub transfers: BTreeMap<String, TransferKind>,
    /// When the first event of the call was received.
    pub first_event_at_ms: i64,
    /// When the latest event of the call was received.
    pub last_event_at_ms: i64,
    /// The event from which each value came.
    #[serde(skip)]
    pub sources: ValueSources,
}

impl fmt::Debug for CallRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without phone numbers and texts, which are personal data.
        f.debug_struct("CallRecord")
            .field("kind", &self.kind)
            .field("call_id", &self.call_id)
            .field("stage", &self.stage)
            .field("call_status", &self.call_status)
            .finish_non_exhaustive()
    }
}

impl CallRecord {
    /// An empty record of a call or chat for an event of `stage` that was received at `at_ms`. `company` is the slug.
    #[must_use]
    pub fn new(
        kind: CallKind,
        company_id: CompanyId,
        company: &str,
        call_id: &str,
        stage: CallStage,
        at_ms: i64,
    ) -> Self {
        Self {
            kind,
            company_id,
            company: company.to_owned(),
            call_id: call_id.to_owned(),
            stage,
            call_type: None,
            direction: None,
            agent_id: None,
            agent_name: None,
            agent_version: None,
            from_number: None,
            to_number: None,
            call_status: None,
            started_at_ms: None,
            ended_at_ms: None,
            duration_ms: None,
            disconnection_reason: None,
            in_voicemail: None,
            user_sentiment: None,
            call_successful: None,
            cost_cents: None,
            latency_e2e: None,
            has_recording: None,
            summary: None,
            custom_analysis_data: None,
            transfers: BTreeMap::new(),
            first_event_at_ms: at_ms,
            last_event_at_ms: at_ms,
            sources: ValueSources::default(),
        }
    }

    /// Whether this is a test call, see [`CallKind::is_test`].
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.kind.is_test(&self.call_id)
    }

    /// State of the call's transfers, independent of the order of their events: `started`, `bridged`, `cancelled` or
    /// `ended`; `None` without transfers.
    #[must_use]
    pub fn transfer_state(&self) -> Option<&'static str> {
        let count = |kind| self.transfers.values().filter(|transfer| **transfer == kind).count();
        let started = count(TransferKind::Started);
        let cancelled = count(TransferKind::Cancelled);
        if count(TransferKind::Ended) > 0 {
            Some("ended")
        } else if count(TransferKind::Bridged) > 0 {
            Some("bridged")
        } else if started > cancelled {
            // Events do not name the transfer they belong to. A second attempt after a canceled one shows in the
            // numbers.
            Some("started")
        } else if cancelled > 0 {
            Some("cancelled")
        } else {
            None
        }
    }

    /// Merges the values of `news` into this record. Each value is kept from the event of the latest stage that
    /// contains it, and among events of one stage from the one that was received last, so every order of merging
    /// gives the same record. Absent values erase nothing, and merging an event twice changes nothing.
    pub fn merge(&mut self, news: Self) {
        // The first argument of each call is the bit of the value in `ValueSources`, which is stored: numbers may be
        // added, but never changed or reused.
        let mut merging = CallMerge {
            current: (std::mem::take(&mut self.sources), (self.stage, self.last_event_at_ms)),
            incoming: (news.sources, (news.stage, news.last_event_at_ms)),
            merged_sources: ValueSources::default(),
        };
        merging.merge_value(0, &mut self.call_type, news.call_type);
        merging.merge_value(1, &mut self.direction, news.direction);
        merging.merge_value(2, &mut self.agent_id, news.agent_id);
        merging.merge_value(3, &mut self.agent_name, news.agent_name);
        merging.merge_value(4, &mut self.agent_version, news.agent_version);
        merging.merge_value(5, &mut self.from_number, news.from_number);
        merging.merge_value(6, &mut self.to_number, news.to_number);
        merging.merge_ranked_value(7, &mut self.call_status, news.call_status, |status| is_final_status(status));
        merging.merge_value(8, &mut self.started_at_ms, news.started_at_ms);
        merging.merge_value(9, &mut self.ended_at_ms, news.ended_at_ms);
        merging.merge_value(10, &mut self.duration_ms, news.duration_ms);
        merging.merge_value(11, &mut self.disconnection_reason, news.disconnection_reason);
        merging.merge_value(12, &mut self.user_sentiment, news.user_sentiment);
        merging.merge_value(13, &mut self.call_successful, news.call_successful);
        merging.merge_value(14, &mut self.cost_cents, news.cost_cents);
        merging.merge_value(15, &mut self.in_voicemail, news.in_voicemail);
        merging.merge_value(16, &mut self.latency_e2e, news.latency_e2e);
        merging.merge_value(17, &mut self.has_recording, news.has_recording);
        merging.merge_value(18, &mut self.summary, news.summary);
        merging.merge_value(19, &mut self.custom_analysis_data, news.custom_analysis_data);
        self.sources = merging.merged_sources;
        // After the values: their ranks compare the stage and time from before the merge.
        self.transfers.extend(news.transfers);
        self.stage = self.stage.max(news.stage);
        self.first_event_at_ms = self.first_event_at_ms.min(news.first_event_at_ms);
        self.last_event_at_ms = self.last_event_at_ms.max(news.last_event_at_ms);
    }
}

/// Whether the status is that of a finished call. It is not replaced by one that is not: Retell's own sample of
/// `call_ended` contains the status `registered`.
fn is_final_status(status: &str) -> bool {
    !matches!(status, "registered" | "ongoing")
}

#[cfg(test)]
mod tests;
