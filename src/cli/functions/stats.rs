//! `functions stats`: numbers and durations of invocations.

use clap::Args;

use crate::cli::context;
use crate::cli::latency_stats::{CountedItems, LatencyStatsArgs};
use crate::cli::output::CliResult;
use crate::operations::functions::count_invocations;

const INVOCATIONS: CountedItems = CountedItems {
    items: "invocations",
    heading: "FUNCTION",
    outcomes: [("done", "DONE"), ("invalid_arguments", "INVALID"), ("failed", "FAILED")],
};

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsStatsArgs {
    /// Only invocations of this function
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    #[command(flatten)]
    stats: LatencyStatsArgs,
}

impl FunctionsStatsArgs {
    pub(super) async fn run(self) -> CliResult {
        let store = context::open_store()?;
        let filter = self.stats.to_filter(self.function);
        let counted = count_invocations(&*store, context::PRINCIPAL, filter).await?;
        self.stats.print(&counted, &INVOCATIONS)
    }
}
