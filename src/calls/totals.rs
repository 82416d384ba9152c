//! What one call adds to the totals of statistics. The same rules apply to totals that are kept and to calls that are
//! counted when they are asked for.

use std::borrow::Cow;
use std::ops::{AddAssign, Neg};

use super::{CallRecord, Cost};
use crate::base::id::CompanyId;

/// Longest duration that is counted, about three years. A longer one is an error of the sender and would spoil every
/// sum.
const MAX_DURATION_MS: i64 = 100_000_000_000;

/// A property of calls by whose values they are counted. The numbers are stored and must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallDimension {
    /// Whether the agent reached its goal: `yes`, `no`, or empty when it is not known. Counts every call once, except
    /// tests.
    Success = 0,
    DisconnectionReason = 1,
    Sentiment = 2,
    /// Version of the agent, of calls of which both are known.
    AgentVersion = 3,
    /// Test calls, which no other dimension counts.
    Test = 4,
}

impl CallDimension {
    pub const ALL: [Self; 5] =
        [Self::Success, Self::DisconnectionReason, Self::Sentiment, Self::AgentVersion, Self::Test];
}

/// Totals of a set of calls, or the difference between two. Numbers are negative in differences only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    pub calls: i64,
    /// Number of calls with a known duration.
    pub calls_with_duration: i64,
    pub total_duration_ms: i64,
    /// Sum of the known costs.
    pub total_cost_cents: Cost,
    /// Number of calls of which it is known whether the agent reached its goal.
    pub calls_with_success_known: i64,
    /// Number of calls in which the agent reached its goal.
    pub successful_calls: i64,
}

impl AddAssign<&Self> for CallTotals {
    fn add_assign(&mut self, other: &Self) {
        self.calls += other.calls;
        self.calls_with_duration += other.calls_with_duration;
        self.total_duration_ms = self.total_duration_ms.saturating_add(other.total_duration_ms);
        self.total_cost_cents.add(other.total_cost_cents);
        self.calls_with_success_known += other.calls_with_success_known;
        self.successful_calls += other.successful_calls;
    }
}

impl Neg for CallTotals {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            calls: -self.calls,
            calls_with_duration: -self.calls_with_duration,
            total_duration_ms: -self.total_duration_ms,
            total_cost_cents: -self.total_cost_cents,
            calls_with_success_known: -self.calls_with_success_known,
            successful_calls: -self.successful_calls,
        }
    }
}

impl CallTotals {
    /// Average of the known durations.
    #[must_use]
    pub fn average_duration_ms(&self) -> Option<i64> {
        self.total_duration_ms.checked_div(self.calls_with_duration)
    }

    /// Share of successful calls among those whose success is known, from 0 to 1.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        ratio(self.successful_calls, self.calls_with_success_known)
    }

    /// Share of these calls among those in `all`, from 0 to 1.
    #[must_use]
    pub fn share_of(&self, all: &Self) -> Option<f64> {
        ratio(self.calls, all.calls)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio is shown with one or two decimals")]
fn ratio(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The values of one call that statistics use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountedCall<'a> {
    pub company_id: CompanyId,
    pub is_test: bool,
    /// Start of the call, or the arrival of its first event if the start is unknown.
    pub started_at_ms: i64,
    pub agent_id: Option<&'a str>,
    pub agent_version: Option<i64>,
    pub disconnection_reason: Option<&'a str>,
    pub user_sentiment: Option<&'a str>,
    pub call_successful: Option<bool>,
    pub duration_ms: Option<i64>,
    pub cost_cents: Option<Cost>,
}

impl<'a> CountedCall<'a> {
    pub fn of(call: &'a CallRecord) -> Self {
        Self {
            company_id: call.company_id,
            is_test: call.is_test(),
            started_at_ms: call.started_at_ms.unwrap_or(call.first_event_at_ms),
            agent_id: call.agent_id.as_deref(),
            agent_version: call.agent_version,
            disconnection_reason: call.disconnection_reason.as_deref(),
            user_sentiment: call.user_sentiment.as_deref(),
            call_successful: call.call_successful,
            duration_ms: call.duration_ms,
            cost_cents: call.cost_cents.as_deref().and_then(Cost::parse),
        }
    }

    pub fn totals(&self) -> CallTotals {
        // A negative duration is an error of the sender, and would make averages wrong.
        let duration_ms = self.duration_ms.filter(|ms| (0..=MAX_DURATION_MS).contains(ms));
        CallTotals {
            calls: 1,
            calls_with_duration: i64::from(duration_ms.is_some()),
            total_duration_ms: duration_ms.unwrap_or(0),
            total_cost_cents: self.cost_cents.unwrap_or_default(),
            calls_with_success_known: i64::from(self.call_successful.is_some()),
            successful_calls: i64::from(self.call_successful == Some(true)),
        }
    }

    /// The values by which the call is counted, at most one per dimension.
    pub fn values(&self) -> impl Iterator<Item = (CallDimension, Cow<'a, str>)> {
        let is_test = self.is_test;
        let success = match self.call_successful {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        let version = self.agent_id.and(self.agent_version).map(|version| Cow::Owned(version.to_string()));
        [
            (CallDimension::Test, is_test.then_some(Cow::Borrowed(""))),
            (CallDimension::Success, Some(Cow::Borrowed(success))),
            (CallDimension::DisconnectionReason, self.disconnection_reason.map(Cow::Borrowed)),
            (CallDimension::Sentiment, self.user_sentiment.map(Cow::Borrowed)),
            (CallDimension::AgentVersion, version),
        ]
        .into_iter()
        .filter(move |(dimension, _)| (*dimension == CallDimension::Test) == is_test)
        .filter_map(|(dimension, value)| Some((dimension, value?)))
    }
}
