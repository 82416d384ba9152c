//! `load`: measures throughput and latency of a receiver.

use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::operations::receiver::{LoadBodySize, LoadRequest, LoadUpdate, run_load};
use crate::view::LoadReportView;

#[derive(Debug, Args)]
pub(in crate::cli) struct LoadArgs {
    /// Size of the bodies: 0.6 kB, 12 kB, 40 kB, or all three in turn
    #[arg(long, value_enum, default_value_t = LoadBodySize::Small)]
    size: LoadBodySize,
    /// Number of requests per second, even if the receiver does not keep up [default: as fast as they are answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Number of connections, each with one request in flight
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Duration of the load in seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// URL of the receiver [default: the receiver on this machine, by server.host and server.port]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Required with `--i-own-this-server` to send to another machine
    #[arg(long)]
    yes_really: bool,
    /// Required with `--yes-really` to send to another machine
    #[arg(long)]
    i_own_this_server: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

impl ValueEnum for LoadBodySize {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl LoadArgs {
    pub(in crate::cli) async fn run(self) -> CliResult {
        let request = LoadRequest {
            size: self.size,
            rate: self.rate,
            connections: self.connections,
            duration: Duration::from_secs(self.seconds),
            url: self.to,
            confirmed: self.yes_really && self.i_own_this_server,
        };
        let seconds = self.seconds;
        // The bar is drawn on standard error, and only when that is a terminal.
        let bar = ProgressBar::new(seconds);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} s, {msg} answered") {
            bar.set_style(style);
        }
        let on_update = |update| match update {
            LoadUpdate::Started { url } => output::print_error(format!(
                "retell-webhook: sending to {url} for {seconds} s; these events are stored and handled like any others"
            )),
            LoadUpdate::Running { elapsed, answered } => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(answered.to_string());
            }
        };
        let settings = context::load_settings()?;
        let report = run_load(&settings, &Clock::system(), context::PRINCIPAL, &request, on_update).await?;
        bar.finish_and_clear();
        if self.json { output::print_json(&report) } else { print_text(&report) }?;
        if report.ok { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

fn print_text(report: &LoadReportView) -> CliResult {
    let LoadReportView { accepted, per_second, seconds, .. } = report;
    output::print_fields(&[
        ("accepted", Some(format!("{accepted} in {seconds:.1} s, {per_second} per second"))),
        ("bodies", Some(output::format_bytes(report.body_bytes))),
    ])?;
    // Quantiles are sorted by their names, and the maximum is the last one for a reader.
    let (maximum, quantiles): (Vec<_>, Vec<_>) = report.latency_ms.iter().partition(|(name, _)| **name == "max");
    for (name, ms) in quantiles.into_iter().chain(maximum) {
        output::print_line(format!("{name:<8}  {ms:.2} ms"))?;
    }
    for (reason, count) in &report.failed {
        output::print_line(format!("FAILED    {count}: {reason}"))?;
    }
    if report.not_sent > 0 {
        output::print_line(format!("NOT SENT  {}: every connection was busy", report.not_sent))?;
    }
    Ok(())
}
