//! `functions stats`: numbers and durations of invocations.

use clap::{Args, ValueEnum};

use crate::cli::context;
use crate::cli::list_args::{ListFilterArgs, empty_text};
use crate::cli::output::{self, CliResult};
use crate::operations::functions::count_invocations;
use crate::storage::{LatencyFilter, LatencyGrouping};
use crate::view::FunctionGroupView;

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsStatsArgs {
    /// Only invocations of this function
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    #[command(flatten)]
    filter: ListFilterArgs,
    /// What the rows are; times are rounded to whole hours
    #[arg(long, value_enum, default_value = "function")]
    by: GroupBy,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    Function,
    Company,
    /// Day of the receipt, in UTC
    Day,
    Hour,
}

impl FunctionsStatsArgs {
    pub(super) async fn run(self) -> CliResult {
        let store = context::open_store()?;
        let (grouping, heading) = match self.by {
            GroupBy::Function => (LatencyGrouping::Name, "FUNCTION"),
            GroupBy::Company => (LatencyGrouping::Company, "COMPANY"),
            GroupBy::Day => (LatencyGrouping::Day, "DAY"),
            GroupBy::Hour => (LatencyGrouping::Hour, "HOUR"),
        };
        let is_filtered = self.function.is_some() || self.filter.is_set();
        let filter = LatencyFilter {
            name: self.function,
            since_ms: self.filter.since_ms(),
            until_ms: self.filter.until_ms(),
            company: self.filter.company,
            grouping,
        };
        let stats = count_invocations(&*store, context::PRINCIPAL, filter).await?;
        if self.json {
            return output::print_json(&stats);
        }
        let header = [heading, "INVOCATIONS", "DONE", "INVALID", "FAILED", "P50", "P90", "P99"];
        let nothing = "no invocations have ended in the last 90 days";
        let rows = stats.groups.iter().map(table_row).collect();
        output::print_table(&header, rows, &empty_text("invocations", is_filtered, nothing))
    }
}

fn table_row(group: &FunctionGroupView) -> Vec<String> {
    let key = group.key.clone().or_else(|| group.start_ms.map(output::format_time)).unwrap_or_default();
    let count = |state: &str| group.by_state.get(state).copied().unwrap_or(0).to_string();
    let duration = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    vec![
        key,
        group.count.to_string(),
        count("done"),
        count("invalid_arguments"),
        count("failed"),
        duration(group.p50_ms),
        duration(group.p90_ms),
        duration(group.p99_ms),
    ]
}
