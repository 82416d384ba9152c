//! `simulate`: sends the events of simulated calls and prints their outcomes.

mod text;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::output::{self, CliError, CliResult};
use super::receiver_url::{self, ReceiverProbe};
use super::{context, health, keys};
use crate::app::shutdown_signal;
use crate::config::Settings;
use crate::simulation::{self, Scenario, SimulationError, SimulationOptions, SimulationReport, StoreToCheck};

/// Limit of calls to another machine without the two confirming options. It is enough to test a tunnel.
const MAX_REMOTE_CALLS: u64 = 20;

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct SimulateArgs {
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
    /// URL of the receiver; without a path the webhook's path is added [default: the receiver on this machine, by
    /// server.host and server.port]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Send to the route of this company, signed with its first key
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
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
    pub(super) async fn run(self) -> CliResult {
        if self.list {
            return self.print_scenarios();
        }
        let settings = context::load_settings()?;
        let url = self.webhook_url(&settings)?;
        let probe = receiver_url::probe_receiver(&url.origin().ascii_serialization()).await?;
        let store = store_to_check(&settings, &url, &probe).await?;
        let options = self.options(&settings, url, store)?;
        if let ReceiverProbe::NoResponse(reason) = probe {
            return Err(CliError::Message(format!(
                "{}: {reason}; nothing was sent; is the receiver running on that port?",
                options.request_url()
            )));
        }
        eprintln!(
            "retell-webhook: simulating {} calls to {}, seed {}",
            self.calls,
            options.request_url(),
            options.seed
        );
        let progress_bar = ProgressBar::new(self.calls);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} calls, {msg} requests, {elapsed}") {
            progress_bar.set_style(style);
        }
        let stop = options.stop.clone();
        let shown = progress_bar.clone();
        let run = simulation::run(options, move |progress| {
            shown.set_message(progress.requests.to_string());
            shown.set_position(progress.completed_calls);
        });
        let report = wait_for_report(&stop, run).await?;
        progress_bar.finish_and_clear();
        if self.json {
            // As a `Value`, whose keys are sorted like those of all other commands.
            output::print_json(&serde_json::to_value(&report)?)?;
        } else {
            text::print_report(&report)?;
        }
        if report.ok { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    fn print_scenarios(&self) -> CliResult {
        let scenarios = Scenario::ALL.into_iter();
        if self.json {
            let items =
                scenarios.map(|scenario| json!({ "name": scenario.name(), "description": scenario.description() }));
            return output::print_json(&items.collect::<Vec<_>>());
        }
        let rows = scenarios.map(|scenario| vec![scenario.name().to_owned(), scenario.description().to_owned()]);
        output::print_table(&["SCENARIO", "DESCRIPTION"], rows.collect(), "none")
    }

    fn webhook_url(&self, settings: &Settings) -> Result<url::Url, CliError> {
        let text = self.to.clone().unwrap_or_else(|| health::local_base_url(settings));
        let url = receiver_url::parse_webhook_url(&text, self.company.as_deref())?;
        let is_confirmed = self.yes_really && self.i_own_this_server;
        if !receiver_url::is_loopback(&url) && self.calls > MAX_REMOTE_CALLS && !is_confirmed {
            return Err(CliError::Message(format!(
                "{url} is on another machine, and {} calls are more than {MAX_REMOTE_CALLS}; if it is yours, add \
                 --yes-really --i-own-this-server",
                self.calls
            )));
        }
        Ok(url)
    }

    fn options<'a>(
        &self,
        settings: &'a Settings,
        url: url::Url,
        store: StoreToCheck,
    ) -> Result<SimulationOptions<'a>, CliError> {
        // Without verification no key is required, and none may be configured.
        let needs_key = settings.security.verify || !settings.security.keys.is_empty();
        let key = if needs_key { Some(keys::signing_key(settings, self.company.as_deref())?) } else { None };
        let scenarios = if self.scenarios.is_empty() {
            Scenario::default_scenarios(settings.appointments.enabled)
        } else {
            self.scenarios.clone()
        };
        Ok(SimulationOptions {
            settings,
            url,
            company: self.company.clone(),
            key,
            scenarios,
            functions_required: self.scenarios.contains(&Scenario::Appointment),
            calls: self.calls,
            rate: self.rate,
            seed: self.seed.unwrap_or_else(simulation::random_seed),
            effects: self.effects,
            store,
            stop: CancellationToken::new(),
        })
    }
}

/// The store to compare with, if the events go to the receiver whose store the settings name.
async fn store_to_check(settings: &Settings, url: &url::Url, probe: &ReceiverProbe) -> Result<StoreToCheck, CliError> {
    if !receiver_url::is_loopback(url) && !is_local_receiver(settings, probe).await? {
        return Ok(StoreToCheck::Unavailable("the receiver is not on this machine".to_owned()));
    }
    match context::open_store() {
        Ok(store) => Ok(StoreToCheck::Available(store)),
        Err(CliError::Message(reason)) => Ok(StoreToCheck::Unavailable(reason)),
        Err(error) => Err(error),
    }
}

/// Waits for the report. On the first signal, calls in progress only cancel what they booked; on the second one the
/// run is aborted.
async fn wait_for_report(
    stop: &CancellationToken,
    run: impl Future<Output = Result<SimulationReport, SimulationError>>,
) -> Result<SimulationReport, CliError> {
    let mut run = std::pin::pin!(run);
    tokio::select! {
        report = &mut run => return Ok(report?),
        () = shutdown_signal()? => stop.cancel(),
    }
    eprintln!("retell-webhook: stopping after the booked appointments are canceled; a second signal stops immediately");
    tokio::select! {
        report = run => Ok(report?),
        () = shutdown_signal()? => {
            Err(CliError::Message("stopped immediately; bookings remain, see `appointments list`".to_owned()))
        }
    }
}

/// Whether the process that answered at a remote URL, through a tunnel or a proxy, is the receiver on this machine.
async fn is_local_receiver(settings: &Settings, remote: &ReceiverProbe) -> Result<bool, CliError> {
    let local = receiver_url::probe_receiver(&health::local_base_url(settings)).await?;
    Ok(matches!((remote, &local), (ReceiverProbe::Receiver(remote), ReceiverProbe::Receiver(local)) if remote == local))
}
