//! Simulates calls: decides where they go, how they are signed, and which store is compared.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::{ReceiverProbe, local_base_url, probe_receiver, webhook_url};
use crate::base::clock::Clock;
use crate::config::{Settings, is_loopback_url};
use crate::operations::signatures::optional_signing_key;
use crate::operations::{OperationError, Principal};
use crate::privacy::redact;
use crate::simulation::{self, SimulationError, SimulationOptions, StoreToCheck};
use crate::storage::{Store, StoreError};
use crate::view::{ScenarioView, SimulationView};

pub(crate) use crate::simulation::{Scenario, SimulationProgress};

/// Limit of calls to another machine without confirmation. It is enough to test a tunnel.
const MAX_REMOTE_CALLS: u64 = 20;

pub(crate) struct SimulationRequest {
    /// Empty for all scenarios; `appointment` only if appointments are enabled.
    pub scenarios: Vec<Scenario>,
    pub calls: u64,
    /// Number of calls to start per second; `None` starts them as fast as they are answered.
    pub rate: Option<f64>,
    /// `None` for a random one.
    pub seed: Option<u64>,
    pub effects: bool,
    /// URL of the receiver; without a path that of the webhook is added. `None` for the receiver on this machine.
    pub url: Option<String>,
    /// The slug of the company; `None` for the default company.
    pub company: Option<String>,
    /// Whether the caller may send many calls to another machine.
    pub confirmed: bool,
}

/// What a simulation reports while it runs.
#[derive(Clone, Debug)]
pub(crate) enum SimulationUpdate {
    /// The first call is about to start. The URL is that of the webhook, without its password.
    Started {
        url: String,
        seed: u64,
    },
    Running(SimulationProgress),
}

/// The scenarios that can be simulated.
pub(crate) fn list_scenarios() -> Vec<ScenarioView> {
    let view = |scenario: Scenario| ScenarioView { name: scenario.name(), description: scenario.description() };
    Scenario::ALL.into_iter().map(view).collect()
}

/// Simulates calls, and compares the store that `open_store` opens with what was acknowledged, if the receiver is the one
/// of the settings. When `stop` is canceled, no further calls start, and calls in progress cancel what they booked.
/// Dropping the future aborts the calls and leaves what they booked.
///
/// # Errors
/// No receiver responds, no key is known, the calls would go to another machine without confirmation, or the store
/// cannot be read afterwards.
pub(crate) async fn simulate(
    settings: &Settings,
    clock: &Clock,
    _principal: &Principal,
    request: SimulationRequest,
    open_store: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>,
    on_update: impl Fn(SimulationUpdate) + Send + Sync + 'static,
    stop: CancellationToken,
) -> Result<SimulationView, OperationError> {
    let url = receiver_url(settings, request.url.as_deref(), request.company.as_deref())?;
    if !is_loopback_url(&url) && request.calls > MAX_REMOTE_CALLS && !request.confirmed {
        return Err(OperationError::NotConfirmed(format!(
            "{} is on another machine, and {} calls are more than {MAX_REMOTE_CALLS}",
            redact::url(url.as_str()),
            request.calls
        )));
    }
    let probe = probe_receiver(&url.origin().ascii_serialization()).await?;
    let store = store_to_check(settings, &url, &probe, open_store).await?;
    let options = simulation_options(settings, clock, request, url, store, stop)?;
    let url = redact::url(options.request_url().as_str());
    if let ReceiverProbe::NoResponse(reason) = probe {
        return Err(OperationError::NoResponse(format!(
            "{url}: {reason}; nothing was sent; is the receiver running on that port?"
        )));
    }
    on_update(SimulationUpdate::Started { url, seed: options.seed });
    Ok(simulation::run(options, move |progress| on_update(SimulationUpdate::Running(progress))).await?)
}

fn simulation_options<'a>(
    settings: &'a Settings,
    clock: &Clock,
    request: SimulationRequest,
    url: Url,
    store: StoreToCheck,
    stop: CancellationToken,
) -> Result<SimulationOptions<'a>, OperationError> {
    let functions_required = request.scenarios.contains(&Scenario::Appointment);
    let scenarios = if request.scenarios.is_empty() {
        Scenario::default_scenarios(settings.appointments.enabled)
    } else {
        request.scenarios
    };
    Ok(SimulationOptions {
        settings,
        clock: clock.clone(),
        url,
        key: optional_signing_key(settings, request.company.as_deref())?,
        company: request.company,
        scenarios,
        functions_required,
        calls: request.calls,
        rate: request.rate,
        seed: request.seed.unwrap_or_else(simulation::random_seed),
        effects: request.effects,
        store,
        stop,
    })
}

impl From<SimulationError> for OperationError {
    fn from(error: SimulationError) -> Self {
        match error {
            SimulationError::Config(error) => error.into(),
            SimulationError::Client(error) => error.into(),
            SimulationError::Store(error) => error.into(),
        }
    }
}

/// The webhook URL at `url`, or at the receiver on this machine.
pub(super) fn receiver_url(
    settings: &Settings,
    url: Option<&str>,
    company: Option<&str>,
) -> Result<Url, OperationError> {
    match url {
        Some(url) => webhook_url(url, company),
        None => webhook_url(&local_base_url(settings), company),
    }
}

/// The store to compare with, if the events go to the receiver whose store the settings name.
async fn store_to_check(
    settings: &Settings,
    url: &Url,
    probe: &ReceiverProbe,
    open_store: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>,
) -> Result<StoreToCheck, OperationError> {
    let is_local = is_loopback_url(url) || {
        // Through a tunnel or a proxy, the receiver on this machine may answer at a remote URL.
        probe_receiver(&local_base_url(settings)).await?.is_same_receiver(probe)
    };
    if !is_local {
        return Ok(StoreToCheck::Unavailable("the receiver is not on this machine".to_owned()));
    }
    Ok(match open_store() {
        Ok(store) => StoreToCheck::Available(store),
        Err(error) => StoreToCheck::Unavailable(error.to_string()),
    })
}
