//! `calls stats`, `chats stats`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::super::events::parse_time_arg;
use super::super::output::{self, CliError, CliResult};
use super::display::{format_duration, kind_plural};
use crate::calls::{CallGroup, CallGrouping, CallKind, CallStats, CallStatsFilter, CallTotals};
use crate::storage::Store;

/// Rows per table when no `--by` is given.
const OVERVIEW_ROWS: usize = 10;
/// Days the sparkline covers, up to the last day with a call.
const SPARKLINE_DAYS: i64 = 60;
/// Bars from the fewest to the most calls per day.
const SPARKLINE_BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SPARKLINE_EMPTY: char = '·';

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsStatsArgs {
    /// Print one table with all groups [default: the ten largest groups of each table]
    #[arg(long, value_enum)]
    by: Option<GroupBy>,
    /// Only calls or chats started since this time: 2026-11-21T10:00:00Z, 2026-11-21, or 90m, 2h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = parse_time_arg)]
    since: Option<i64>,
    /// Only calls or chats started before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_time_arg)]
    until: Option<i64>,
    /// Only calls or chats of the company with this slug
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
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
            Self::Reason => CallGrouping::Reason,
            Self::Sentiment => CallGrouping::Sentiment,
            Self::Success => CallGrouping::Success,
            Self::Company => CallGrouping::Company,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Agent => "agent",
            Self::Reason => "reason",
            Self::Sentiment => "sentiment",
            Self::Success => "success",
            Self::Company => "company",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Day => "DAY (UTC)",
            Self::Agent => "AGENT",
            Self::Reason => "ENDED BY",
            Self::Sentiment => "SENTIMENT",
            Self::Success => "SUCCESSFUL",
            Self::Company => "COMPANY",
        }
    }

    /// The groupings of a kind: chats have no disconnection reason.
    fn for_kind(kind: CallKind) -> impl Iterator<Item = Self> {
        let all = [Self::Day, Self::Agent, Self::Reason, Self::Sentiment, Self::Success, Self::Company];
        all.into_iter().filter(move |by| kind == CallKind::Call || *by != Self::Reason)
    }
}

impl CallsStatsArgs {
    pub(super) async fn run(self, store: &dyn Store, kind: CallKind) -> CliResult {
        if self.by.is_some_and(|by| GroupBy::for_kind(kind).all(|possible| possible != by)) {
            return Err(CliError::Message(
                "--by reason: chats have no disconnection reason; use --by sentiment or --by success".to_owned(),
            ));
        }
        let filter = CallStatsFilter {
            kind,
            since_ms: self.since,
            until_ms: self.until,
            company: self.company.clone(),
            agent_id: self.agent.clone(),
        };
        let stats = store.call_stats(filter).await?;
        if self.json { self.print_json(kind, &stats) } else { self.print_text(kind, &stats) }
    }

    fn print_text(&self, kind: CallKind, stats: &CallStats) -> CliResult {
        if stats.totals().calls == 0 {
            let excluded = format_excluded_tests(stats, kind);
            return output::print_line(format!("no {} to count{excluded}", kind_plural(kind)));
        }
        output::print_line(format!("{}{}", format_summary(kind, stats.totals()), format_excluded_tests(stats, kind)))?;
        if self.by.is_none_or(|by| by == GroupBy::Day) {
            output::print_line(sparkline(&stats.days()))?;
        }
        match self.by {
            Some(by) => print_group_table(by, kind, stats, usize::MAX),
            // A table with one company would only repeat the total.
            None => GroupBy::for_kind(kind)
                .filter(|by| *by != GroupBy::Company || stats.groups(CallGrouping::Company).len() > 1)
                .try_for_each(|by| print_group_table(by, kind, stats, OVERVIEW_ROWS)),
        }
    }

    fn print_json(&self, kind: CallKind, stats: &CallStats) -> CliResult {
        let wanted = GroupBy::for_kind(kind).filter(|by| self.by.is_none_or(|only| only == *by));
        let by: BTreeMap<_, _> = wanted.map(|by| (by.name(), groups_json(by, stats))).collect();
        output::print_json(&json!({
            "kind": kind_plural(kind),
            "since_ms": self.since,
            "until_ms": self.until,
            "company": self.company,
            "agent": self.agent,
            "time_zone": "UTC",
            "tests_excluded": stats.excluded_tests(),
            "total": totals_json(stats.totals()),
            "by": by,
        }))
    }
}

fn format_excluded_tests(stats: &CallStats, kind: CallKind) -> String {
    match stats.excluded_tests() {
        0 => String::new(),
        1 => format!(" (1 test {} excluded)", kind.as_str()),
        more => format!(" ({more} test {} excluded)", kind_plural(kind)),
    }
}

/// `42 calls, 1:05 on average, 0:45:30 in total, 12.5 cents, 71 % successful of 40 evaluated`.
fn format_summary(kind: CallKind, total: &CallTotals) -> String {
    let noun = if total.calls == 1 { kind.as_str() } else { kind_plural(kind) };
    let mut parts = vec![format!("{} {noun}", total.calls)];
    if let Some(average) = total.average_duration_ms() {
        parts.push(format!("{} on average", format_duration(average)));
        parts.push(format!("{} in total", format_hours(total.total_duration_ms)));
    }
    parts.push(format!("{} cents", total.total_cost_cents));
    if let Some(rate) = total.success_rate() {
        parts.push(format!(
            "{} successful of {} evaluated",
            format_percent(Some(rate)),
            total.calls_with_success_known
        ));
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

/// One character per day: `2026-11-01 ▁·▃█ 2026-11-04, at most 12 per day`.
fn sparkline(days: &[(i64, CallTotals)]) -> String {
    let Some((last, _)) = days.last() else { return String::new() };
    let from = last.saturating_sub(SPARKLINE_DAYS - 1);
    let shown: BTreeMap<i64, u64> =
        days.iter().filter(|(day, _)| *day >= from).map(|(day, totals)| (*day, totals.calls)).collect();
    let first = shown.keys().next().copied().unwrap_or(*last);
    let most = shown.values().copied().max().unwrap_or(0);
    let bars: String = (first..=*last).map(|day| sparkline_bar(shown.get(&day).copied(), most)).collect();
    let date = |day: i64| output::format_time(day.saturating_mul(86_400_000)).chars().take(10).collect::<String>();
    format!("{} {bars} {}, at most {most} per day", date(first), date(*last))
}

/// Rounds up, so that a day with one call is distinguished from a day without any.
fn sparkline_bar(calls: Option<u64>, most: u64) -> char {
    let level = calls.unwrap_or(0).saturating_mul(8).div_ceil(most.max(1));
    let index = usize::try_from(level).ok().and_then(|level| level.checked_sub(1));
    index.map_or(SPARKLINE_EMPTY, |index| SPARKLINE_BARS[index.min(7)])
}

fn print_group_table(by: GroupBy, kind: CallKind, stats: &CallStats, max_rows: usize) -> CliResult {
    let groups = stats.groups(by.to_grouping());
    let hidden = groups.len().saturating_sub(max_rows);
    // Days are in order of time, so the latest are at the end; other groups are in order of size, largest first.
    let shown = if by == GroupBy::Day { &groups[hidden..] } else { &groups[..groups.len() - hidden] };
    let rows = shown.iter().map(|group| group_row(group, stats.totals())).collect();
    output::print_line("")?;
    let column = kind_plural(kind).to_uppercase();
    let header = [by.heading(), &column, "SHARE", "AVERAGE", "TOTAL", "CENTS", "SUCCESS"];
    output::print_table(&header, rows, "none")?;
    if hidden > 0 {
        output::print_line(format!("and {hidden} more: --by {}", by.name()))?;
    }
    Ok(())
}

fn group_row(group: &CallGroup, total: &CallTotals) -> Vec<String> {
    let key = group.key.as_deref().unwrap_or("-");
    let key = group.name.as_ref().map_or_else(|| key.to_owned(), |name| format!("{key} ({name})"));
    let totals = &group.totals;
    vec![
        output::sanitize(&key),
        totals.calls.to_string(),
        format_percent(totals.share_of(total)),
        totals.average_duration_ms().map_or_else(|| "-".to_owned(), format_duration),
        format_hours(totals.total_duration_ms),
        totals.total_cost_cents.to_string(),
        format_percent(totals.success_rate()),
    ]
}

fn groups_json(by: GroupBy, stats: &CallStats) -> Vec<Value> {
    let groups = stats.groups(by.to_grouping()).into_iter().map(|group| {
        let mut fields = totals_json(&group.totals);
        fields.insert("key".to_owned(), json!(group.key));
        fields.insert("share".to_owned(), json!(group.totals.share_of(stats.totals())));
        if by == GroupBy::Agent {
            fields.insert("name".to_owned(), json!(group.name));
        }
        Value::Object(fields)
    });
    groups.collect()
}

fn totals_json(totals: &CallTotals) -> Map<String, Value> {
    let figures = [
        ("count", json!(totals.calls)),
        ("duration_ms", json!(totals.total_duration_ms)),
        ("average_duration_ms", json!(totals.average_duration_ms())),
        ("cost_cents", json!(totals.total_cost_cents)),
        ("evaluated", json!(totals.calls_with_success_known)),
        ("successful", json!(totals.successful_calls)),
        ("success_rate", json!(totals.success_rate())),
    ];
    figures.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(calls: &[(i64, u64)]) -> Vec<(i64, CallTotals)> {
        calls.iter().map(|(day, calls)| (*day, CallTotals { calls: *calls, ..CallTotals::default() })).collect()
    }

    #[test]
    fn a_sparkline_has_one_character_per_day() {
        let line = sparkline(&days(&[(20_775, 1), (20_776, 40), (20_778, 80)]));
        assert_eq!(line, "2026-11-18 ▁▄·█ 2026-11-21, at most 80 per day");
        let line = sparkline(&days(&[(0, 9), (20_778, 1)]));
        assert_eq!(line, "2026-11-21 █ 2026-11-21, at most 1 per day", "one old call does not make a long line");
        assert_eq!(sparkline(&[]), "");
        let line = sparkline(&days(&[(i64::MIN / 86_400_000, 1)]));
        assert!(line.contains('█'), "{line}");
    }

    #[test]
    fn totals_are_summarized_in_one_line() {
        let mut stats = CallStats::default();
        for (duration_ms, successful) in [(60_000, true), (70_000, false)] {
            let row = crate::calls::CallStatsRow {
                duration_ms: Some(duration_ms),
                call_successful: Some(successful),
                cost_cents: crate::calls::Cost::parse("0.1"),
                ..Default::default()
            };
            stats.add(CallKind::Call, &row);
        }
        let summary = format_summary(CallKind::Call, stats.totals());
        assert_eq!(summary, "2 calls, 1:05 on average, 0:02:10 in total, 0.2 cents, 50 % successful of 2 evaluated");
        assert_eq!(
            format_summary(CallKind::Chat, &CallTotals { calls: 1, ..CallTotals::default() }),
            "1 chat, 0 cents"
        );
    }
}
