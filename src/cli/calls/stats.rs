//! `calls stats`, `chats stats`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::super::events::since;
use super::super::output::{self, Done, Failure};
use super::record::{duration, noun};
use crate::storage::{CallKind, CallStats, Group, Grouping, StatsFilter, Store, Totals};

/// Rows of a table in the overview.
const TOP: usize = 10;
/// Days a sparkline goes back from the last one with a call.
const SPARKLINE_DAYS: i64 = 60;
/// For a day with few calls to one with most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const NO_CALLS: char = '·';

#[derive(Debug, Args)]
pub(in crate::cli) struct Stats {
    /// One table, of all groups; without it the ten largest of each
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only those begun since then: 2026-11-21T10:00:00Z, 2026-11-21, or 90m, 2h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    /// Only those begun before then
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<i64>,
    /// Only those of this company
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only those of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The day it began, in UTC
    Day,
    /// The agent
    Agent,
    /// The disconnection reason
    Reason,
    /// The user's sentiment
    Sentiment,
    /// Whether the agent reached its goal
    Success,
    /// The company
    Company,
}

impl By {
    fn grouping(self) -> Grouping {
        match self {
            Self::Day => Grouping::Day,
            Self::Agent => Grouping::Agent,
            Self::Reason => Grouping::Reason,
            Self::Sentiment => Grouping::Sentiment,
            Self::Success => Grouping::Success,
            Self::Company => Grouping::Company,
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
            Self::Sentiment => "MOOD",
            Self::Success => "SUCCESSFUL",
            Self::Company => "COMPANY",
        }
    }

    /// Those that make sense for a kind.
    fn of(kind: CallKind) -> impl Iterator<Item = Self> {
        let all = [Self::Day, Self::Agent, Self::Reason, Self::Sentiment, Self::Success, Self::Company];
        all.into_iter().filter(move |by| kind == CallKind::Call || *by != Self::Reason)
    }
}

impl Stats {
    pub(super) async fn run(self, store: &impl Store, kind: CallKind) -> Done {
        if self.by.is_some_and(|by| By::of(kind).all(|possible| possible != by)) {
            return Err(Failure::Because("chats have no disconnection reason; try `--by sentiment`".to_owned()));
        }
        let filter = StatsFilter {
            kind,
            since_ms: self.since,
            until_ms: self.until,
            company: self.company.clone(),
            agent: self.agent.clone(),
        };
        let stats = store.call_stats(filter).await?;
        if self.json { self.as_json(kind, &stats) } else { self.text(kind, &stats) }
    }

    fn text(&self, kind: CallKind, stats: &CallStats) -> Done {
        if stats.total().calls == 0 {
            return output::line(format!("no {} to count{}", noun(kind), left_out(stats, kind)));
        }
        output::line(format!("{}{}", summary(kind, stats.total()), left_out(stats, kind)))?;
        if self.by.is_none_or(|by| by == By::Day) {
            output::line(sparkline(&stats.days()))?;
        }
        match self.by {
            Some(by) => table(by, kind, stats, usize::MAX),
            None => By::of(kind)
                .filter(|by| *by != By::Company || stats.groups(Grouping::Company).len() > 1)
                .try_for_each(|by| table(by, kind, stats, TOP)),
        }
    }

    fn as_json(&self, kind: CallKind, stats: &CallStats) -> Done {
        let wanted = By::of(kind).filter(|by| self.by.is_none_or(|only| only == *by));
        let by: BTreeMap<_, _> = wanted.map(|by| (by.name(), groups(by, stats))).collect();
        output::json(&json!({
            "kind": noun(kind),
            "since_ms": self.since,
            "until_ms": self.until,
            "company": self.company,
            "agent": self.agent,
            "time_zone": "UTC",
            "tests_left_out": stats.tests_left_out(),
            "total": figures(stats.total()),
            "by": by,
        }))
    }
}

fn left_out(stats: &CallStats, kind: CallKind) -> String {
    match stats.tests_left_out() {
        0 => String::new(),
        1 => format!(" (1 test {} left out)", kind.as_str()),
        more => format!(" ({more} test {} left out)", noun(kind)),
    }
}

/// `42 calls, 1:05 on average, 0:45:30 in total, 12.5 cents, 71 % successful of 40 judged`.
fn summary(kind: CallKind, total: &Totals) -> String {
    let mut parts = vec![format!("{} {}", total.calls, if total.calls == 1 { kind.as_str() } else { noun(kind) })];
    if let Some(average) = total.average_duration_ms() {
        parts.push(format!("{} on average", duration(average)));
        parts.push(format!("{} in total", hours(total.duration_ms)));
    }
    parts.push(format!("{} cents", total.cost_cents));
    if let Some(rate) = total.success_rate() {
        parts.push(format!("{} successful of {} judged", percent(Some(rate)), total.judged));
    }
    parts.join(", ")
}

/// `3:45:30`, hours, minutes and seconds.
fn hours(ms: i64) -> String {
    format!("{}:{:02}:{:02}", ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60)
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0))
}

/// A character a day: `2026-11-01 ▁·▃█ 2026-11-04, at most 12 a day`.
fn sparkline(days: &[(i64, Totals)]) -> String {
    let Some((last, _)) = days.last() else { return String::new() };
    let from = last.saturating_sub(SPARKLINE_DAYS - 1);
    let shown: BTreeMap<i64, u64> =
        days.iter().filter(|(day, _)| *day >= from).map(|(day, totals)| (*day, totals.calls)).collect();
    let first = shown.keys().next().copied().unwrap_or(*last);
    let most = shown.values().copied().max().unwrap_or(0);
    let bars: String = (first..=*last).map(|day| bar(shown.get(&day).copied(), most)).collect();
    let date = |day: i64| output::time(day.saturating_mul(86_400_000)).chars().take(10).collect::<String>();
    format!("{} {bars} {}, at most {most} a day", date(first), date(*last))
}

fn bar(calls: Option<u64>, most: u64) -> char {
    let level = calls.unwrap_or(0).saturating_mul(8).div_ceil(most.max(1));
    let above = usize::try_from(level).ok().and_then(|level| level.checked_sub(1));
    above.map_or(NO_CALLS, |level| LEVELS[level.min(7)])
}

fn table(by: By, kind: CallKind, stats: &CallStats, most: usize) -> Done {
    let groups = stats.groups(by.grouping());
    let hidden = groups.len().saturating_sub(most);
    // Of days the latest, of all else the largest.
    let shown = if by == By::Day { &groups[hidden..] } else { &groups[..groups.len() - hidden] };
    let rows = shown.iter().map(|group| row(group, stats.total())).collect();
    output::line("")?;
    let column = noun(kind).to_uppercase();
    let header = [by.heading(), &column, "SHARE", "AVERAGE", "TOTAL", "CENTS", "SUCCESS"];
    output::table(&header, rows, "none")?;
    if hidden > 0 {
        output::line(format!("and {hidden} more: --by {}", by.name()))?;
    }
    Ok(())
}

fn row(group: &Group, total: &Totals) -> Vec<String> {
    let key = group.key.as_deref().unwrap_or("-");
    let key = group.name.as_ref().map_or_else(|| key.to_owned(), |name| format!("{key} ({name})"));
    let totals = &group.totals;
    vec![
        output::plain(&key),
        totals.calls.to_string(),
        percent(totals.share(total)),
        totals.average_duration_ms().map_or_else(|| "-".to_owned(), duration),
        hours(totals.duration_ms),
        totals.cost_cents.to_string(),
        percent(totals.success_rate()),
    ]
}

fn groups(by: By, stats: &CallStats) -> Vec<Value> {
    let described = stats.groups(by.grouping()).into_iter().map(|group| {
        let mut described = figures(&group.totals);
        described.insert("key".to_owned(), json!(group.key));
        described.insert("share".to_owned(), json!(group.totals.share(stats.total())));
        if by == By::Agent {
            described.insert("name".to_owned(), json!(group.name));
        }
        Value::Object(described)
    });
    described.collect()
}

fn figures(totals: &Totals) -> Map<String, Value> {
    let figures = [
        ("calls", json!(totals.calls)),
        ("duration_ms", json!(totals.duration_ms)),
        ("average_duration_ms", json!(totals.average_duration_ms())),
        ("cost_cents", json!(totals.cost_cents)),
        ("judged", json!(totals.judged)),
        ("successful", json!(totals.successful)),
        ("success_rate", json!(totals.success_rate())),
    ];
    figures.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(calls: &[(i64, u64)]) -> Vec<(i64, Totals)> {
        calls.iter().map(|(day, calls)| (*day, Totals { calls: *calls, ..Totals::default() })).collect()
    }

    #[test]
    fn a_sparkline_has_a_character_a_day() {
        let line = sparkline(&days(&[(20_775, 1), (20_776, 40), (20_778, 80)]));
        assert_eq!(line, "2026-11-18 ▁▄·█ 2026-11-21, at most 80 a day");
        let line = sparkline(&days(&[(0, 9), (20_778, 1)]));
        assert_eq!(line, "2026-11-21 █ 2026-11-21, at most 1 a day", "one call of long ago makes no long line");
        assert_eq!(sparkline(&[]), "");
        let line = sparkline(&days(&[(i64::MIN / 86_400_000, 1)]));
        assert!(line.contains('█'), "{line}");
    }

    #[test]
    fn totals_are_said_in_a_line() {
        let mut stats = CallStats::default();
        for (duration_ms, successful) in [(60_000, true), (70_000, false)] {
            let row = crate::storage::StatsRow {
                duration_ms: Some(duration_ms),
                call_successful: Some(successful),
                cost_cents: crate::storage::Cost::parse("0.1"),
                ..Default::default()
            };
            stats.add(CallKind::Call, &row);
        }
        let said = summary(CallKind::Call, stats.total());
        assert_eq!(said, "2 calls, 1:05 on average, 0:02:10 in total, 0.2 cents, 50 % successful of 2 judged");
        assert_eq!(summary(CallKind::Chat, &Totals { calls: 1, ..Totals::default() }), "1 chat, 0 cents");
    }
}
