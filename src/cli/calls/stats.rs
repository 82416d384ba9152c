use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use jiff::civil::Date;

use super::super::context;
use super::super::list_args::ListFilterArgs;
use super::super::output::{self, CliResult};
use super::display::format_duration;
use crate::calls::{CallGrouping, CallKind, CallStatsFilter};
use crate::operations::conversations::count_conversations;
use crate::view::{CallGroupView, CallStatsView, CallTotalsView};

/// Rows per table when no `--by` is given.
const OVERVIEW_ROWS: usize = 10;
/// Days the sparkline covers, up to the last day with a call.
const SPARKLINE_DAYS: i64 = 60;
/// Bars from the fewest to the most calls per day.
const SPARKLINE_BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SPARKLINE_EMPTY: char = '·';
const UNIX_EPOCH_DAY: Date = Date::constant(1970, 1, 1);

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsStatsArgs {
    /// Print one table with all groups [default: the ten largest groups of each table]
    #[arg(long, value_enum)]
    by: Option<GroupBy>,
    #[command(flatten)]
    filter: ListFilterArgs,
    /// Only calls or chats of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    /// Day of the start, in UTC
    Day,
    /// Agent that took the call
    Agent,
    /// Agent and its version
    Version,
    /// Disconnection reason, which only calls have
    Reason,
    /// Sentiment of the user by Retell's analysis
    Sentiment,
    /// Whether the agent reached its goal by Retell's analysis
    Success,
    /// Company that the call belongs to
    Company,
}

impl GroupBy {
    fn to_grouping(self) -> CallGrouping {
        match self {
            Self::Day => CallGrouping::Day,
            Self::Agent => CallGrouping::Agent,
            Self::Version => CallGrouping::Version,
            Self::Reason => CallGrouping::Reason,
            Self::Sentiment => CallGrouping::Sentiment,
            Self::Success => CallGrouping::Success,
            Self::Company => CallGrouping::Company,
        }
    }
}

fn grouping_heading(grouping: CallGrouping) -> &'static str {
    match grouping {
        CallGrouping::Day => "DAY (UTC)",
        CallGrouping::Agent => "AGENT",
        CallGrouping::Version => "AGENT VERSION",
        CallGrouping::Reason => "ENDED BY",
        CallGrouping::Sentiment => "SENTIMENT",
        CallGrouping::Success => "SUCCESSFUL",
        CallGrouping::Company => "COMPANY",
    }
}

impl CallsStatsArgs {
    pub(super) async fn run(self, kind: CallKind) -> CliResult {
        let store = context::open_store()?;
        let grouping = self.by.map(GroupBy::to_grouping);
        let filter = CallStatsFilter {
            kind,
            since_ms: self.filter.since_ms(),
            until_ms: self.filter.until_ms(),
            company: self.filter.company,
            agent_id: self.agent,
        };
        let stats = count_conversations(&*store, context::PRINCIPAL, filter, grouping).await?;
        if self.json { output::print_json(&stats) } else { print_text(kind, grouping, &stats) }
    }
}

fn print_text(kind: CallKind, only: Option<CallGrouping>, stats: &CallStatsView) -> CliResult {
    if stats.total.count == 0 {
        let excluded = format_excluded_tests(stats, kind);
        return output::print_line(format!("no {} to count{excluded}", kind.plural()));
    }
    output::print_line(format!("{}{}", format_summary(kind, &stats.total), format_excluded_tests(stats, kind)))?;
    let groups = |grouping: CallGrouping| stats.by.get(grouping.as_str()).map(Vec::as_slice);
    if let Some(days) = groups(CallGrouping::Day) {
        output::print_line(sparkline(&calls_per_day(days)))?;
    }
    let max_rows = if only.is_some() { usize::MAX } else { OVERVIEW_ROWS };
    for grouping in CallGrouping::for_kind(kind) {
        let Some(groups) = groups(grouping) else { continue };
        // In the overview, a table with one company would only repeat the total.
        if only.is_some() || grouping != CallGrouping::Company || groups.len() > 1 {
            print_group_table(grouping, kind, groups, max_rows)?;
        }
    }
    Ok(())
}

fn format_excluded_tests(stats: &CallStatsView, kind: CallKind) -> String {
    match stats.tests_excluded {
        0 => String::new(),
        1 => format!(" (1 test {} excluded)", kind.as_str()),
        more => format!(" ({more} test {} excluded)", kind.plural()),
    }
}

/// `42 calls, 1:05 on average, 0:45:30 in total, 12.5 cents, 71 % successful of 40 evaluated`.
fn format_summary(kind: CallKind, total: &CallTotalsView) -> String {
    let noun = if total.count == 1 { kind.as_str() } else { kind.plural() };
    let mut parts = vec![format!("{} {noun}", total.count)];
    if let Some(average) = total.average_duration_ms {
        parts.push(format!("{} on average", format_duration(average)));
        parts.push(format!("{} in total", format_hours(total.duration_ms)));
    }
    parts.push(format!("{} cents", total.cost_cents));
    if let Some(rate) = total.success_rate {
        parts.push(format!("{} successful of {} evaluated", format_percent(Some(rate)), total.evaluated));
    }
    parts.join(", ")
}

/// Hours, minutes and seconds: `3:45:30`.
fn format_hours(ms: i64) -> String {
    format!("{}:{:02}:{:02}", ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60)
}

fn format_percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0))
}

/// Days since the Unix epoch with their number of calls.
fn calls_per_day(days: &[CallGroupView]) -> BTreeMap<i64, u64> {
    let day = |key: &str| Some(key.parse::<Date>().ok()?.duration_since(UNIX_EPOCH_DAY).as_hours() / 24);
    days.iter().filter_map(|group| Some((day(group.key.as_deref()?)?, group.totals.count))).collect()
}

/// One character per day: `2026-11-01 ▁·▃█ 2026-11-04, at most 12 per day`.
fn sparkline(days: &BTreeMap<i64, u64>) -> String {
    let Some((last, _)) = days.last_key_value() else { return String::new() };
    let shown = || days.range(last.saturating_sub(SPARKLINE_DAYS - 1)..);
    let first = shown().next().map_or(*last, |(day, _)| *day);
    let most = shown().map(|(_, calls)| *calls).max().unwrap_or(0);
    let bars: String = (first..=*last).map(|day| sparkline_bar(days.get(&day).copied(), most)).collect();
    format!("{} {bars} {}, at most {most} per day", date_of_day(first), date_of_day(*last))
}

fn date_of_day(day: i64) -> String {
    let date = UNIX_EPOCH_DAY.checked_add(SignedDuration::from_hours(day.saturating_mul(24)));
    date.map_or_else(|_| format!("day {day}"), |date| date.to_string())
}

/// Rounds up, so that a day with one call is distinguished from a day without any.
fn sparkline_bar(calls: Option<u64>, most: u64) -> char {
    let level = calls.unwrap_or(0).saturating_mul(8).div_ceil(most.max(1));
    let index = usize::try_from(level).ok().and_then(|level| level.checked_sub(1));
    index.map_or(SPARKLINE_EMPTY, |index| SPARKLINE_BARS[index.min(7)])
}

fn print_group_table(grouping: CallGrouping, kind: CallKind, groups: &[CallGroupView], max_rows: usize) -> CliResult {
    let hidden = groups.len().saturating_sub(max_rows);
    // Days are in order of time, so the latest are at the end; other groups are in order of size, largest first.
    let shown = if grouping == CallGrouping::Day { &groups[hidden..] } else { &groups[..groups.len() - hidden] };
    output::print_line("")?;
    let column = kind.plural().to_uppercase();
    let header = [grouping_heading(grouping), &column, "SHARE", "AVERAGE", "TOTAL", "CENTS", "SUCCESS"];
    output::print_table(&header, shown.iter().map(group_row).collect(), "none")?;
    if hidden > 0 {
        output::print_line(format!("and {hidden} more: --by {}", grouping.as_str()))?;
    }
    Ok(())
}

fn group_row(group: &CallGroupView) -> Vec<String> {
    let key = group.key.as_deref().unwrap_or("-");
    let agent_name = group.agent.as_ref().and_then(|agent| agent.name.as_ref());
    let key = agent_name.map_or_else(|| key.to_owned(), |name| format!("{key} ({name})"));
    let totals = &group.totals;
    vec![
        key,
        totals.count.to_string(),
        format_percent(group.share),
        totals.average_duration_ms.map_or_else(|| "-".to_owned(), format_duration),
        format_hours(totals.duration_ms),
        totals.cost_cents.to_string(),
        format_percent(totals.success_rate),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Cost;

    #[test]
    fn a_sparkline_has_one_character_per_day() {
        let line = sparkline(&[(20_775, 1), (20_776, 40), (20_778, 80)].into());
        assert_eq!(line, "2026-11-18 ▁▄·█ 2026-11-21, at most 80 per day");
        let line = sparkline(&[(0, 9), (20_778, 1)].into());
        assert_eq!(line, "2026-11-21 █ 2026-11-21, at most 1 per day", "one old call does not make a long line");
        assert_eq!(sparkline(&BTreeMap::new()), "");
        let line = sparkline(&[(i64::MIN / 86_400_000, 1)].into());
        assert!(line.contains('█'), "{line}");
    }

    #[test]
    fn totals_are_summarized_in_one_line() {
        let totals = CallTotalsView {
            count: 2,
            duration_ms: 130_000,
            average_duration_ms: Some(65_000),
            cost_cents: Cost::parse("0.2").unwrap(),
            evaluated: 2,
            successful: 1,
            success_rate: Some(0.5),
        };
        let summary = format_summary(CallKind::Call, &totals);
        assert_eq!(summary, "2 calls, 1:05 on average, 0:02:10 in total, 0.2 cents, 50 % successful of 2 evaluated");
        let single = CallTotalsView {
            count: 1,
            duration_ms: 0,
            average_duration_ms: None,
            cost_cents: Cost::default(),
            evaluated: 0,
            successful: 0,
            success_rate: None,
        };
        assert_eq!(format_summary(CallKind::Chat, &single), "1 chat, 0 cents");
    }
}
