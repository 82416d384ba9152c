//! `deliveries stats`: numbers and durations of attempts.

use clap::Args;

use crate::cli::context;
use crate::cli::latency_stats::{CountedItems, LatencyStatsArgs};
use crate::cli::output::CliResult;
use crate::operations::deliveries::count_attempts;

const ATTEMPTS: CountedItems = CountedItems {
    items: "attempts",
    heading: "HANDLER",
    outcomes: [("done", "DONE"), ("retry", "RETRY"), ("fail", "FAIL")],
};

#[derive(Debug, Args)]
pub(in crate::cli) struct DeliveriesStatsArgs {
    /// Only attempts of this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    #[command(flatten)]
    stats: LatencyStatsArgs,
}

impl DeliveriesStatsArgs {
    pub(super) async fn run(self) -> CliResult {
        let store = context::open_store()?;
        let filter = self.stats.to_filter(self.handler);
        let counted = count_attempts(&*store, context::PRINCIPAL, filter).await?;
        self.stats.print(&counted, &ATTEMPTS)
    }
}
