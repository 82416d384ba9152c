//! One row a call or chat, merged from whatever events arrive, in whatever order.

mod cost;
mod sources;
mod stats;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use self::sources::CallMerge;
pub(crate) use cost::Cost;
pub(crate) use sources::ValueSources;
pub(crate) use stats::{CallGroup, CallGrouping, CallStats, CallStatsFilter, CallStatsRow, CallTotals};

/// How much an event knows about its call. A later stage overwrites; an earlier one only fills gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStage {
    /// `call_started`, `chat_started`.
    Started = 1,
    /// Anything while the call is on: transcripts, transfers, names not known yet.
    Underway = 2,
    /// `call_ended`, `chat_ended`.
    Ended = 3,
    /// `call_analyzed`, `chat_analyzed`.
    Analyzed = 4,
}

impl CallStage {
    /// The stage kept as this number; anything unknown counts as the least.
    #[must_use]
    pub fn from_rank(rank: i64) -> Self {
        match rank {
            4 => Self::Analyzed,
            3 => Self::Ended,
            2 => Self::Underway,
            _ => Self::Started,
        }
    }
}

/// A transfer event, kept by its event's id so that handling it twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// `transfer_started`.
    Started,
    /// `transfer_bridged`.
    Bridged,
    /// `transfer_cancelled`.
    Cancelled,
    /// `transfer_ended`.
    Ended,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// A voice call.
    #[default]
    Call,
    /// A chat, by API or text message.
    Chat,
}

impl CallKind {
    /// `call` or `chat`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Chat => "chat",
        }
    }

    /// Whether an id of this kind is a test's: handled like any other, left out of statistics.
    #[must_use]
    pub fn is_test(self, id: &str) -> bool {
        id.starts_with(self.test_prefix())
    }

    /// How ids of tests begin.
    #[must_use]
    pub fn test_prefix(self) -> &'static str {
        match self {
            Self::Call => "call_test_",
            Self::Chat => "chat_test_",
        }
    }
}

/// Narrows a list of calls or chats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFilter {
    /// Calls or chats.
    pub kind: CallKind,
    /// Slug of the company.
    pub company: Option<String>,
    /// Id of the agent.
    pub agent_id: Option<String>,
    /// Those of tests too, see [`CallKind::is_test`].
    pub include_tests: bool,
    /// At most so many.
    pub limit: usize,
}

/// From the end of the user's words to the beginning of the agent's, over a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct E2eLatency {
    /// Median.
    pub p50_ms: Option<i64>,
    /// 90th percentile.
    pub p90_ms: Option<i64>,
    /// 99th percentile.
    pub p99_ms: Option<i64>,
}

/// What is known about a call or a chat. Times are milliseconds since the Unix epoch.
#[derive(Clone, PartialEq, Serialize)]
pub struct CallRecord {
    /// Call or chat.
    pub kind: CallKind,
    /// Whose it is.
    pub company_id: i64,
    /// The company's slug.
    pub company: String,
    /// Retell's id of it.
    pub call_id: String,
    /// The latest stage an event has told about.
    pub stage: CallStage,
    /// `phone_call` or `web_call`; `api_chat` or `sms_chat`.
    pub call_type: Option<String>,
    /// `inbound` or `outbound`.
    pub direction: Option<String>,
    /// The agent.
    pub agent_id: Option<String>,
    /// The agent's name.
    pub agent_name: Option<String>,
    /// The agent's version.
    pub agent_version: Option<i64>,
    /// The caller's number.
    #[serde(skip)]
    pub from_number: Option<String>,
    /// The called number.
    #[serde(skip)]
    pub to_number: Option<String>,
    /// `registered`, `ongoing`, `ended`, `not_connected`, `error`, or a newer one.
    pub call_status: Option<String>,
    /// When it began.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// Why it ended.
    pub disconnection_reason: Option<String>,
    /// Whether a voicemail answered.
    pub in_voicemail: Option<bool>,
    /// `Positive`, `Neutral`, `Negative` or `Unknown`.
    pub user_sentiment: Option<String>,
    /// Whether the agent reached its goal.
    pub call_successful: Option<bool>,
    /// Combined cost in US cents, as decimal text.
    pub cost_cents: Option<String>,
    /// How fast the agent answered.
    pub latency_e2e: Option<E2eLatency>,
    /// Whether a recording was announced. Its address is in the event: it may open the recording to whoever has it.
    pub has_recording: Option<bool>,
    /// The conversation in a few sentences. Not serialized: it is what somebody said.
    #[serde(skip)]
    pub summary: Option<String>,
    /// What the account had extracted, as JSON text. Not serialized either.
    #[serde(skip)]
    pub custom_analysis_data: Option<String>,
    /// Transfer events by the id of the event that told of them.
    #[serde(skip)]
    pub transfers: BTreeMap<String, TransferKind>,
    /// When the first event about it arrived.
    pub first_event_at_ms: i64,
    /// When the latest event about it arrived.
    pub last_event_at_ms: i64,
    /// Which event told what.
    #[serde(skip)]
    pub sources: ValueSources,
}

impl fmt::Debug for CallRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the numbers and words of the people in it.
        f.debug_struct("CallRecord")
            .field("kind", &self.kind)
            .field("call_id", &self.call_id)
            .field("stage", &self.stage)
            .field("call_status", &self.call_status)
            .finish_non_exhaustive()
    }
}

impl CallRecord {
    /// An empty record for a call or chat of a company (number and slug) that an event of `stage` arrived about at
    /// `at_ms`.
    #[must_use]
    pub fn new(kind: CallKind, company: (i64, &str), call_id: &str, (stage, at_ms): (CallStage, i64)) -> Self {
        Self {
            kind,
            company_id: company.0,
            company: company.1.to_owned(),
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

    /// Whether it is a test's, see [`CallKind::is_test`].
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.kind.is_test(&self.call_id)
    }

    /// Where the call's transfers stand, whatever the order in which their events arrived: `started`, `bridged`,
    /// `cancelled`, `ended`, or `None` without any.
    #[must_use]
    pub fn transfer_state(&self) -> Option<&'static str> {
        let count = |wanted| self.transfers.values().filter(|seen| **seen == wanted).count();
        let (started, cancelled) = (count(TransferKind::Started), count(TransferKind::Cancelled));
        match () {
            () if count(TransferKind::Ended) > 0 => Some("ended"),
            () if count(TransferKind::Bridged) > 0 => Some("bridged"),
            () if started > cancelled => Some("started"),
            () if cancelled > 0 => Some("cancelled"),
            () => None,
        }
    }

    /// Takes over what `news` knows. Each value is kept from the event of the latest stage that has it, and among events
    /// of one stage from the one that arrived last, so every order of merging gives the same record. Absent values erase
    /// nothing. Merging the same news twice changes nothing.
    pub fn merge(&mut self, news: Self) {
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
        self.transfers.extend(news.transfers);
        self.stage = self.stage.max(news.stage);
        self.first_event_at_ms = self.first_event_at_ms.min(news.first_event_at_ms);
        self.last_event_at_ms = self.last_event_at_ms.max(news.last_event_at_ms);
    }
}

/// Retell's own sample of `call_ended` says `registered`: a finished call does not go back to one that is under way.
fn is_final_status(status: &str) -> bool {
    !matches!(status, "registered" | "ongoing")
}

#[cfg(test)]
mod tests;
