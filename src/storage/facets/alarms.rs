use async_trait::async_trait;

use crate::storage::{ActivityRow, AlarmKind, AlarmRow, StoreError};

/// Keeps raised alarms and hourly event counts across restarts. Each change concerns one alarm or adds to the counts,
/// so several receivers can use the same store.
#[async_trait]
pub trait AlarmStore: Send + Sync {
    /// Stores a raised alarm. It replaces the one of the same kind and subject, if there is one.
    async fn raise_alarm(&self, alarm: AlarmRow) -> Result<(), StoreError>;

    /// Removes the raised alarm of this kind and subject, if there is one.
    async fn resolve_alarm(&self, kind: AlarmKind, subject: String) -> Result<(), StoreError>;

    /// The raised alarms, or those that were raised when the receiver stopped; the one raised first comes first.
    /// Alarms of a kind that this version does not know are left out.
    async fn list_alarms(&self) -> Result<Vec<AlarmRow>, StoreError>;

    /// Adds `counts` to the stored ones of the same company, agent and hour, and deletes hours before `forget_before`
    /// (hours since the Unix epoch), in one step. To repeat it after it succeeded would count the events twice.
    async fn add_activity(&self, counts: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError>;

    /// All stored hourly event counts, in no particular order.
    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError>;
}
