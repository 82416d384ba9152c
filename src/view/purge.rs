//! The result of applying the retention rules.

use serde::Serialize;

/// What a purge deleted, or as a dry run would delete.
#[derive(Debug, Serialize)]
pub(crate) struct PurgeView {
    pub dry_run: bool,
    pub by_age: Vec<PurgedByRuleView>,
    /// Events deleted because the store was larger than `retention.max_bytes`.
    pub by_size: u64,
    pub cascaded: PurgeCascadeView,
    /// Size of the store afterwards.
    pub used_bytes: u64,
    pub max_bytes: Option<u64>,
}

/// The rows that one age rule covers.
#[derive(Debug, Serialize)]
pub(crate) struct PurgedByRuleView {
    /// The kind of data, such as `events`.
    pub kind: &'static str,
    /// `all`, or the slugs that are included or excluded.
    pub companies: String,
    pub days: u32,
    pub rows: u64,
}

/// What was deleted together with events and deliveries.
#[derive(Debug, Serialize)]
pub(crate) struct PurgeCascadeView {
    pub body_bytes: u64,
    pub deliveries: u64,
    pub attempts: u64,
}
