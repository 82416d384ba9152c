//! Options that commands with a list share.

use clap::Args;

use super::time_arg::TimeArg;

#[derive(Debug, Args)]
pub(super) struct CommonListArgs {
    /// Print at most N rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
    /// Print one JSON array instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// Which rows a list has. Every list of things with a company and a time has these options.
#[derive(Debug, Args)]
pub(super) struct ListFilterArgs {
    /// Only those of the company with this slug
    #[arg(long, value_name = "SLUG")]
    pub(super) company: Option<String>,
    /// Only those since this time: 2026-11-21T10:00:00Z, 2026-11-21, or 90m, 2h, 1d ago
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArg>,
    /// Only those before this time, in the same forms
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArg>,
}

impl ListFilterArgs {
    pub(super) fn since_ms(&self) -> Option<i64> {
        self.since.map(TimeArg::ms)
    }

    pub(super) fn until_ms(&self) -> Option<i64> {
        self.until.map(TimeArg::ms)
    }

    pub(super) fn is_set(&self) -> bool {
        self.company.is_some() || self.since.is_some() || self.until.is_some()
    }
}

/// Where a command sends requests to.
#[derive(Debug, Args)]
pub(super) struct DestinationArgs {
    /// URL of the receiver; without a path the webhook's path is added [default: the receiver on this machine, by
    /// server.host and server.port]
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,
    /// Send to the route of this company, signed with its first key
    #[arg(long, value_name = "SLUG")]
    pub(super) company: Option<String>,
}

/// The text of a list without rows: filters that match nothing, or `nothing`, for a store that has none.
pub(super) fn empty_text(items: &str, is_filtered: bool, nothing: &str) -> String {
    if is_filtered { format!("no {items} match these options") } else { nothing.to_owned() }
}
