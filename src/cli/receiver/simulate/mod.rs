//! `simulate`: sends the events of simulated calls and prints their outcomes.

mod text;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::app::shutdown_signal;
use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::list_args::DestinationArgs;
use crate::cli::output::{self, CliError, CliResult};
use crate::operations::OperationError;
use crate::operations::receiver::{Scenario, SimulationRequest, SimulationUpdate, list_scenarios, simulate};
use crate::storage::Role;
use crate::view::SimulationView;

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(in crate::cli) struct SimulateArgs {
    /// Scenarios of the calls, as `--list` shows them; several alternate [default: all, `appointment` only if
    /// appointments are enabled]
    #[arg(value_enum, value_name = "SCENARIO", hide_possible_values = true)]
    scenarios: Vec<Scenario>,
    /// Number of calls to simulate
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    calls: u64,
    /// Number of calls to start per second, such as 0.5 [default: as fast as they are answered, at most 16 at the
    /// same time]
    #[arg(long, value_name = "CALLS_PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Seed of the generated people and conversations; ids and times differ in every run [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Let handlers with external effects process these calls, which they skip as tests by default (adds
    /// `?effects=true`); the internal events `appointment_*` remain tests
    #[arg(long)]
    effects: bool,
    #[command(flatten)]
    destination: DestinationArgs,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    /// List the scenarios and send nothing
    #[arg(long)]
    list: bool,
    /// Required with `--i-own-this-server` to send more than 20 calls to another machine
    #[arg(long)]
    yes_really: bool,
    /// Required with `--yes-really` to send more than 20 calls to another machine
    #[arg(long)]
    i_own_this_server: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1_000.0).contains(&rate) => Ok(rate),
        _ => Err("not a number of calls per second (0.01 to 1000)".to_owned()),
    }
}

impl ValueEnum for Scenario {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.description()))
    }
}

impl SimulateArgs {
    pub(in crate::cli) async fn run(self) -> CliResult {
        if self.list {
            return self.print_scenarios();
        }
        let settings = context::load_settings()?;
        let calls = self.calls;
        let json = self.json;
        let progress_bar = ProgressBar::new(calls);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} calls, {msg} requests, {elapsed}") {
            progress_bar.set_style(style);
        }
        let shown = progress_bar.clone();
        let on_update = move |update| match update {
            SimulationUpdate::Started { url, seed } => {
                output::print_error(format!("retell-webhook: simulating {calls} calls to {url}, seed {seed}"));
            }
            SimulationUpdate::Running(progress) => {
                shown.set_message(progress.requests.to_string());
                shown.set_position(progress.completed_calls);
            }
        };
        let open_store = || context::open_store_of(&settings, Role::Reader);
        let stop = CancellationToken::new();
        let request = self.into_request();
        let clock = Clock::system();
        let run = simulate(&settings, &clock, context::PRINCIPAL, request, open_store, on_update, stop.clone());
        let report = wait_for_report(&stop, run).await?;
        progress_bar.finish_and_clear();
        if json {
            output::print_json(&report)?;
        } else {
            text::print_report(&report)?;
        }
        if report.ok { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    fn print_scenarios(&self) -> CliResult {
        let scenarios = list_scenarios();
        if self.json {
            return output::print_json(&scenarios);
        }
        let rows = scenarios.iter().map(|scenario| vec![scenario.name.to_owned(), scenario.description.to_owned()]);
        output::print_table(&["SCENARIO", "DESCRIPTION"], rows.collect(), "none")
    }

    fn into_request(self) -> SimulationRequest {
        SimulationRequest {
            scenarios: self.scenarios,
            calls: self.calls,
            rate: self.rate,
            seed: self.seed,
            effects: self.effects,
            url: self.destination.to,
            company: self.destination.company,
            confirmed: self.yes_really && self.i_own_this_server,
        }
    }
}

/// Waits for the report. On the first signal, calls in progress only cancel what they booked; on the second one the
/// run is aborted.
async fn wait_for_report(
    stop: &CancellationToken,
    run: impl Future<Output = Result<SimulationView, OperationError>>,
) -> Result<SimulationView, CliError> {
    let mut run = std::pin::pin!(run);
    tokio::select! {
        report = &mut run => return Ok(report?),
        () = shutdown_signal()? => stop.cancel(),
    }
    output::print_error(
        "retell-webhook: stopping after the booked appointments are canceled; a second signal stops immediately",
    );
    tokio::select! {
        report = run => Ok(report?),
        () = shutdown_signal()? => {
            Err(CliError::Message("stopped immediately; bookings remain, see `appointments list`".to_owned()))
        }
    }
}
