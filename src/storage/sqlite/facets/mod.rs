//! Implements the facets: each method runs a job on the writer thread, on a reader thread or on the operator's thread.

mod alarms;
mod calls;
mod delivery_admin;
mod delivery_queue;
mod journal;
mod leadership;
mod maintenance;
mod retention;

pub(super) use delivery_admin::SqliteTotalsRebuild;
pub(super) use leadership::end_all_terms;
pub(super) use maintenance::ProbeCache;
