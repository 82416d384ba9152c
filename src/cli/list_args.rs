//! Options that commands with a list share.

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct CommonListArgs {
    /// Print at most N rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
    /// Print one JSON array instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// The text of a list without rows: filters that match nothing, or `nothing`, for a store that has none.
pub(super) fn empty_text(items: &str, is_filtered: bool, nothing: &str) -> String {
    if is_filtered { format!("no {items} match these options") } else { nothing.to_owned() }
}
