//! The options and the table of `functions stats` and `deliveries stats`.

use clap::{Args, ValueEnum};

use super::list_args::ListFilterArgs;
use super::output::{self, CliResult};
use crate::storage::{LatencyFilter, LatencyGrouping};
use crate::view::{LatencyGroupView, LatencyStatsView};

#[derive(Debug, Args)]
pub(super) struct LatencyStatsArgs {
    #[command(flatten)]
    filter: ListFilterArgs,
    /// What the rows are; times are rounded to whole hours
    #[arg(long, value_enum, default_value = "name")]
    by: GroupBy,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    /// Name of the handler or function
    Name,
    Company,
    /// Day in UTC
    Day,
    Hour,
}

/// What is counted, for texts.
pub(super) struct CountedItems {
    /// What is counted, in the plural: `attempts`.
    pub(super) items: &'static str,
    /// Heading of the column with names.
    pub(super) heading: &'static str,
    /// The outcomes, and the headings of their columns.
    pub(super) outcomes: [(&'static str, &'static str); 3],
}

impl LatencyStatsArgs {
    pub(super) fn to_filter(&self, name: Option<String>) -> LatencyFilter {
        let grouping = match self.by {
            GroupBy::Name => LatencyGrouping::Name,
            GroupBy::Company => LatencyGrouping::Company,
            GroupBy::Day => LatencyGrouping::Day,
            GroupBy::Hour => LatencyGrouping::Hour,
        };
        let (since_ms, until_ms) = (self.filter.since_ms(), self.filter.until_ms());
        LatencyFilter { name, company: self.filter.company.clone(), since_ms, until_ms, grouping }
    }

    pub(super) fn print(&self, stats: &LatencyStatsView, counted: &CountedItems) -> CliResult {
        if self.json {
            return output::print_json(stats);
        }
        let heading = match self.by {
            GroupBy::Name => counted.heading,
            GroupBy::Company => "COMPANY",
            GroupBy::Day => "DAY",
            GroupBy::Hour => "HOUR",
        };
        let [first, second, third] = counted.outcomes.map(|(_, heading)| heading);
        let header = [heading, "COUNT", first, second, third, "P50", "P90", "P99"];
        let rows = stats.groups.iter().map(|group| table_row(group, counted)).collect();
        output::print_table(&header, rows, &format!("no {} are counted for these options", counted.items))
    }
}

fn table_row(group: &LatencyGroupView, counted: &CountedItems) -> Vec<String> {
    let key = group.key.clone().or_else(|| group.start_ms.map(output::format_time)).unwrap_or_default();
    let count = |outcome: &str| group.by_outcome.get(outcome).copied().unwrap_or(0).to_string();
    let duration = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let [first, second, third] = counted.outcomes.map(|(outcome, _)| count(outcome));
    let durations = [group.p50_ms, group.p90_ms, group.p99_ms].map(duration);
    [vec![key, group.count.to_string(), first, second, third], durations.to_vec()].concat()
}
