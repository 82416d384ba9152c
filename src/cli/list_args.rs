//! What verbs that list have in common.

use clap::Args;

/// How much of a list, and in which form.
#[derive(Debug, Args)]
pub(super) struct CommonListArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
    /// Print one JSON array
    #[arg(long)]
    pub(super) json: bool,
}
