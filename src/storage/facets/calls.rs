//! The records of calls and chats.

use async_trait::async_trait;

use crate::base::id::CompanyId;
use crate::calls::{CallFilter, CallKind, CallRecord, CallStats, CallStatsFilter};
use crate::storage::{CallerHistory, StoreError};

/// A period whose totals are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalsPosition {
    /// Days since the Unix epoch.
    Day(i64),
    /// Months of 30 days since the Unix epoch, which are checked after all days.
    Month(i64),
}

impl TotalsPosition {
    pub const START: Self = Self::Day(i64::MIN);
}

/// What a step of correcting totals did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotalsCorrection {
    /// Calls and chats that were counted.
    pub calls: u64,
    pub corrected_totals: u64,
    /// About the number of calls and chats in the store.
    pub estimated_calls: u64,
    /// Where to continue; `None` at the end.
    pub next: Option<TotalsPosition>,
}

/// Reads the rows of calls and chats, each merged from the values of its events.
#[async_trait]
pub trait CallStore: Send + Sync {
    /// Merges the values of one event into the row of its call or chat, as the settlement of a delivery does.
    #[cfg(test)]
    async fn merge_call(&self, call: CallRecord) -> Result<(), StoreError>;

    /// Calls or chats, the one with the latest event first. Without summary and custom analysis data.
    async fn list_calls(&self, filter: CallFilter) -> Result<Vec<CallRecord>, StoreError>;

    /// One call or chat, with summary and custom analysis data.
    async fn get_call(&self, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError>;

    /// Statistics of calls or chats, test calls excluded.
    async fn call_stats(&self, filter: CallStatsFilter) -> Result<CallStats, StoreError>;

    /// Compares the totals behind the statistics with the calls, for one period, and corrects them. The result of the whole
    /// is correct also while calls are merged.
    async fn correct_call_totals(&self, position: TotalsPosition) -> Result<TotalsCorrection, StoreError>;

    /// Earlier calls between a phone number and a company, in either direction. Read by a separate thread, because a
    /// caller is waiting and other reads can take long.
    async fn caller_history(&self, company_id: CompanyId, number: &str) -> Result<CallerHistory, StoreError>;
}
