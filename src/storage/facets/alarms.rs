//! Alarms and activity.

use async_trait::async_trait;

use crate::storage::{ActivityRow, AlarmRow, StoreError};

/// Keeps raised alarms and hourly event counts across restarts.
#[async_trait]
pub trait AlarmStore: Send + Sync {
    /// Makes `alarms` the set of raised alarms.
    async fn replace_alarms(&self, alarms: Vec<AlarmRow>) -> Result<(), StoreError>;

    /// The raised alarms, or those that were raised when the receiver stopped; the one raised first comes first.
    async fn list_alarms(&self) -> Result<Vec<AlarmRow>, StoreError>;

    /// Replaces the event counts of the hours in `rows`, and deletes hours before `forget_before` (hours since the
    /// Unix epoch).
    async fn upsert_activity(&self, rows: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError>;

    /// All stored hourly event counts, in no particular order.
    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError>;
}
