//! One row per call and per chat, merged from its events, and the totals that statistics are made of.

mod check;
mod list;
mod merge;
mod remove;
mod row;
mod stats;
#[cfg(test)]
mod tests;
mod totals;

pub(super) use self::check::{check_period, count_differing_totals, estimate_calls};
pub(super) use self::list::{find_by_id, list_calls};
pub(super) use self::merge::merge_call;
pub(super) use self::remove::{CallPartition, delete_call, delete_row, list_old_rows, list_partitions};
pub(super) use self::row::table_name;
pub(super) use self::stats::compute_stats;
pub(super) use self::totals::PendingTotals;
