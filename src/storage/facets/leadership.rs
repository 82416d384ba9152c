//! Duties that one receiver at a time performs.

use async_trait::async_trait;

use crate::base::id::InstanceId;
use crate::storage::{Duty, StoreError};

/// Elects a leader for each duty among the receivers of a store. A leader leads until its term ends, and may extend it.
/// After a crash of the leader another receiver leads from the end of the term on, or earlier if the engine knows that
/// the leader is gone. Terms are compared with the time that each receiver gives, so the clocks of receivers may differ by
/// a few seconds at most.
#[async_trait]
pub trait Leadership: Send + Sync {
    /// Makes `holder` the leader until `until_ms`, if no other receiver leads at `now_ms`, and returns whether it leads.
    async fn try_lead(&self, duty: Duty, holder: &InstanceId, until_ms: i64, now_ms: i64) -> Result<bool, StoreError>;

    /// The id of the latest leader of a duty, whose term may have ended; `None` if there was none, or it resigned.
    async fn find_leader(&self, duty: Duty) -> Result<Option<String>, StoreError>;

    /// Ends the term of `holder`, so that another receiver can lead at once. Does nothing if it does not lead.
    async fn resign(&self, duty: Duty, holder: &InstanceId) -> Result<(), StoreError>;
}
