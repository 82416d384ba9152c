//! The ledger of function invocations.

use async_trait::async_trait;

use crate::storage::{
    BeginInvocationOutcome, EndedInvocation, InvocationFilter, InvocationRow, LatencyFilter, LatencyGroups,
    NewInvocation, SignatureUse, StoreError, TotalsRebuild,
};

/// The invocation ledger. `Ok` from a method that writes means that the write survives a crash of the process; it is
/// synced to disk within about 100 ms.
#[async_trait]
pub trait InvocationStore: Send + Sync {
    /// Records the beginning of an invocation, unless it has been answered already or another process is running it.
    ///
    /// [`NewInvocation::replaces`] makes this a compare-and-set: of several processes that find the same answer outdated, one
    /// replaces the invocation, and the others find the new one.
    ///
    /// A process that has died keeps its invocations until their leases expire, or until the engine knows of its
    /// death: an engine with one receiver at a time releases them when the next one opens the store. Leases are
    /// compared with [`NewInvocation::now_ms`], so the clocks of processes may differ by a few seconds at most.
    ///
    /// # Errors
    /// [`StoreError`]: the function must not be called.
    async fn begin_invocation(&self, new: NewInvocation) -> Result<BeginInvocationOutcome, StoreError>;

    /// Records the outcome of an invocation. Changes nothing when another process has taken it over meanwhile.
    async fn end_invocation(&self, ended: EndedInvocation) -> Result<(), StoreError>;

    /// Whether a signature may be used for this purpose: it is new, or was used for the same purpose before.
    async fn use_signature(&self, signature: SignatureUse) -> Result<bool, StoreError>;

    /// Removes invocations received before `before_ms` and signatures seen before `signatures_before_ms`, at most
    /// `limit` rows of each. Returns the number of removed rows.
    async fn purge_invocations(
        &self,
        before_ms: i64,
        signatures_before_ms: i64,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// At most `limit` matching invocations, the latest first.
    async fn list_invocations(&self, filter: InvocationFilter, limit: usize) -> Result<Vec<InvocationRow>, StoreError>;

    /// Numbers and durations of the recorded invocations that have ended.
    async fn invocation_stats(&self, filter: LatencyFilter) -> Result<LatencyGroups, StoreError>;

    /// Begins to compare the totals behind [`InvocationStore::invocation_stats`] with the invocations, and to correct them.
    async fn rebuild_invocation_totals(&self) -> Result<Box<dyn TotalsRebuild>, StoreError>;
}
