//! One row a call, merged from whatever events arrive, in whatever order.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How much an event knows about its call. A later stage overwrites; an earlier one only fills gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// `call_started`.
    Started = 1,
    /// Anything while the call is on: transcripts, transfers, names not known yet.
    Underway = 2,
    /// `call_ended`.
    Ended = 3,
    /// `call_analyzed`.
    Analyzed = 4,
}

impl Stage {
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
pub enum TransferEvent {
    /// `transfer_started`.
    Started,
    /// `transfer_bridged`.
    Bridged,
    /// `transfer_cancelled`.
    Cancelled,
    /// `transfer_ended`.
    Ended,
}

/// What is known about a call. Times are milliseconds since the Unix epoch.
#[derive(Clone, PartialEq, Serialize)]
pub struct CallRecord {
    /// Whose call it is.
    pub company_id: i64,
    /// Retell's id of the call.
    pub call_id: String,
    /// The latest stage an event has told about.
    pub stage: Stage,
    /// `phone_call` or `web_call`.
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
    pub from_number: Option<String>,
    /// The called number.
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
    /// `Positive`, `Neutral`, `Negative` or `Unknown`.
    pub user_sentiment: Option<String>,
    /// Whether the agent reached its goal.
    pub call_successful: Option<bool>,
    /// Combined cost in US cents, as decimal text.
    pub cost_cents: Option<String>,
    /// Transfer events by the id of the event that told of them.
    #[serde(skip)]
    pub transfers: BTreeMap<String, TransferEvent>,
    /// When the first event about it arrived.
    pub first_event_at_ms: i64,
    /// When the latest event about it arrived.
    pub last_event_at_ms: i64,
}

impl fmt::Debug for CallRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the numbers of the people in it.
        f.debug_struct("CallRecord")
            .field("call_id", &self.call_id)
            .field("stage", &self.stage)
            .field("call_status", &self.call_status)
            .finish_non_exhaustive()
    }
}

impl CallRecord {
    /// An empty record for a call an event of `stage` arrived about at `at_ms`.
    #[must_use]
    pub fn new(company_id: i64, call_id: &str, stage: Stage, at_ms: i64) -> Self {
        Self {
            company_id,
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
            user_sentiment: None,
            call_successful: None,
            cost_cents: None,
            transfers: BTreeMap::new(),
            first_event_at_ms: at_ms,
            last_event_at_ms: at_ms,
        }
    }

    /// Where the call's transfers stand, whatever the order in which their events arrived: `started`, `bridged`,
    /// `cancelled`, `ended`, or `None` without any.
    #[must_use]
    pub fn transfer_state(&self) -> Option<&'static str> {
        let count = |wanted| self.transfers.values().filter(|seen| **seen == wanted).count();
        let (started, cancelled) = (count(TransferEvent::Started), count(TransferEvent::Cancelled));
        match () {
            () if count(TransferEvent::Ended) > 0 => Some("ended"),
            () if count(TransferEvent::Bridged) > 0 => Some("bridged"),
            () if started > cancelled => Some("started"),
            () if cancelled > 0 => Some("cancelled"),
            () => None,
        }
    }

    /// Takes over what `news` knows: its present fields win when it is of the same or a later stage, else they only
    /// fill gaps. Absent fields erase nothing. Merging the same news twice changes nothing.
    pub fn merge(&mut self, news: Self) {
        let wins = news.stage >= self.stage;
        take(&mut self.call_type, news.call_type, wins);
        take(&mut self.direction, news.direction, wins);
        take(&mut self.agent_id, news.agent_id, wins);
        take(&mut self.agent_name, news.agent_name, wins);
        take(&mut self.agent_version, news.agent_version, wins);
        take(&mut self.from_number, news.from_number, wins);
        take(&mut self.to_number, news.to_number, wins);
        let status_wins = wins && !is_step_back(self.call_status.as_deref(), news.call_status.as_deref());
        take(&mut self.call_status, news.call_status, status_wins);
        take(&mut self.started_at_ms, news.started_at_ms, wins);
        take(&mut self.ended_at_ms, news.ended_at_ms, wins);
        take(&mut self.duration_ms, news.duration_ms, wins);
        take(&mut self.disconnection_reason, news.disconnection_reason, wins);
        take(&mut self.user_sentiment, news.user_sentiment, wins);
        take(&mut self.call_successful, news.call_successful, wins);
        take(&mut self.cost_cents, news.cost_cents, wins);
        self.transfers.extend(news.transfers);
        self.stage = self.stage.max(news.stage);
        self.first_event_at_ms = self.first_event_at_ms.min(news.first_event_at_ms);
        self.last_event_at_ms = self.last_event_at_ms.max(news.last_event_at_ms);
    }
}

fn take<T>(known: &mut Option<T>, news: Option<T>, wins: bool) {
    if news.is_some() && (wins || known.is_none()) {
        *known = news;
    }
}

/// Retell's own sample of `call_ended` says `registered`: a finished call does not go back to one that is under way.
fn is_step_back(known: Option<&str>, news: Option<&str>) -> bool {
    let finished = |status| matches!(status, Some("ended" | "not_connected" | "error"));
    finished(known) && matches!(news, Some("registered" | "ongoing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stage: Stage, at_ms: i64, fill: impl FnOnce(&mut CallRecord)) -> CallRecord {
        let mut record = CallRecord::new(1, "call_1", stage, at_ms);
        fill(&mut record);
        record
    }

    fn started() -> CallRecord {
        record(Stage::Started, 10, |call| {
            call.call_status = Some("ongoing".into());
            call.started_at_ms = Some(5);
            call.agent_name = Some("Nora".into());
        })
    }

    fn ended() -> CallRecord {
        record(Stage::Ended, 20, |call| {
            call.call_status = Some("ended".into());
            call.duration_ms = Some(25_245);
        })
    }

    fn analyzed() -> CallRecord {
        record(Stage::Analyzed, 21, |call| {
            call.call_status = Some("ended".into());
            call.duration_ms = Some(25_245);
            call.user_sentiment = Some("Positive".into());
        })
    }

    fn merged(order: &[CallRecord]) -> CallRecord {
        let mut call = order[0].clone();
        for news in order {
            call.merge(news.clone());
        }
        call
    }

    #[test]
    fn every_order_gives_the_same_row() {
        let (a, b, c) = (started(), ended(), analyzed());
        let expected = merged(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(expected.agent_name.as_deref(), Some("Nora"));
        assert_eq!(expected.user_sentiment.as_deref(), Some("Positive"));
        for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
            assert_eq!(merged(&order.map(Clone::clone)), expected);
        }
    }

    #[test]
    fn a_finished_call_does_not_go_back() {
        let odd = record(Stage::Ended, 30, |call| call.call_status = Some("registered".into()));
        assert_eq!(merged(&[ended(), odd]).call_status.as_deref(), Some("ended"));
    }

    #[test]
    fn transfers_have_a_state_of_their_own() {
        let transfer =
            |id: &str, event| record(Stage::Underway, 15, |call| call.transfers.extend([(id.into(), event)]));
        let (first, gone) = (transfer("a", TransferEvent::Started), transfer("b", TransferEvent::Cancelled));
        let (second, on) = (transfer("c", TransferEvent::Started), transfer("d", TransferEvent::Bridged));
        assert_eq!(started().transfer_state(), None);
        assert_eq!(merged(&[started(), first.clone()]).transfer_state(), Some("started"));
        assert_eq!(merged(&[gone.clone(), first.clone(), first.clone()]).transfer_state(), Some("cancelled"));
        assert_eq!(
            merged(&[first.clone(), gone.clone(), second.clone(), second.clone()]).transfer_state(),
            Some("started")
        );
        assert_eq!(merged(&[on, first, gone, second, analyzed()]).transfer_state(), Some("bridged"));
    }
}
