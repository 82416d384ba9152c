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
