//! Prepares simulated calls and loads: decides where they go, how they are signed, and which store is compared.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::{ReceiverProbe, is_loopback, local_base_url, probe_receiver, webhook_url};
use crate::base::clock::Clock;
use crate::config::Settings;
use crate::operations::signatures::optional_signing_key;
use crate::operations::{OperationError, Principal};
use crate::privacy::redact;
use crate::simulation::load::{LoadBodySize, LoadOptions};
use crate::simulation::{self, Scenario, SimulationOptions, StoreToCheck};
use crate::storage::{Store, StoreError};
use crate::view::ScenarioView;

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

pub(crate) struct LoadRequest {
    pub size: LoadBodySize,
    pub rate: Option<u32>,
    pub connections: u32,
    pub duration: Duration,
    /// See [`SimulationRequest::url`].
    pub url: Option<String>,
    /// Whether the caller may send to another machine.
    pub confirmed: bool,
}

/// The scenarios that can be simulated.
pub(crate) fn list_scenarios() -> Vec<ScenarioView> {
    let view = |scenario: Scenario| ScenarioView { name: scenario.name(), description: scenario.description() };
    Scenario::ALL.into_iter().map(view).collect()
}

/// The options for [`simulation::run`]. `open_store` opens the store of the settings, with which the events are compared
/// if they go to its receiver.
///
/// # Errors
/// No receiver responds, no key is known, or the calls would go to another machine without confirmation.
pub(crate) async fn prepare_simulation<'a>(
    settings: &'a Settings,
    _principal: &Principal,
    request: SimulationRequest,
    open_store: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>,
) -> Result<SimulationOptions<'a>, OperationError> {
    let url = receiver_url(settings, request.url.as_deref(), request.company.as_deref())?;
    if !is_loopback(&url) && request.calls > MAX_REMOTE_CALLS && !request.confirmed {
        return Err(OperationError::NotConfirmed(format!(
            "{} is on another machine, and {} calls are more than {MAX_REMOTE_CALLS}",
            redact::url(url.as_str()),
            request.calls
        )));
    }
    let probe = probe_receiver(&url.origin().ascii_serialization()).await?;
    let store = store_to_check(settings, &url, &probe, open_store).await?;
    let key = optional_signing_key(settings, request.company.as_deref())?;
    let functions_required = request.scenarios.contains(&Scenario::Appointment);
    let scenarios = if request.scenarios.is_empty() {
        Scenario::default_scenarios(settings.appointments.enabled)
    } else {
        request.scenarios
    };
    let options = SimulationOptions {
        settings,
        url,
        company: request.company,
        key,
        scenarios,
        functions_required,
        calls: request.calls,
        rate: request.rate,
        seed: request.seed.unwrap_or_else(simulation::random_seed),
        effects: request.effects,
        store,
        stop: CancellationToken::new(),
    };
    if let ReceiverProbe::NoResponse(reason) = probe {
        let url = redact::url(options.request_url().as_str());
        return Err(OperationError::NoResponse(format!(
            "{url}: {reason}; nothing was sent; is the receiver running on that port?"
        )));
    }
    Ok(options)
}

/// The options for [`simulation::load::run`].
///
/// # Errors
/// No key is known, or the load would go to another machine without confirmation: it could be an attack.
pub(crate) fn prepare_load(
    settings: &Settings,
    clock: &Clock,
    _principal: &Principal,
    request: &LoadRequest,
) -> Result<LoadOptions, OperationError> {
    let url = receiver_url(settings, request.url.as_deref(), None)?;
    if !is_loopback(&url) && !request.confirmed {
        return Err(OperationError::NotConfirmed(format!(
            "{} is on another machine, which the load may overload",
            redact::url(url.as_str())
        )));
    }
    Ok(LoadOptions {
        url,
        key: optional_signing_key(settings, None)?,
        size: request.size,
        rate: request.rate,
        connections: request.connections,
        duration: request.duration,
        clock: clock.clone(),
    })
}

fn receiver_url(settings: &Settings, url: Option<&str>, company: Option<&str>) -> Result<Url, OperationError> {
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
    let is_local = is_loopback(url) || {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_on_another_machine_needs_confirmation_and_its_password_is_not_shown() {
        let mut request = LoadRequest {
            size: LoadBodySize::Small,
            rate: None,
            connections: 1,
            duration: Duration::from_secs(1),
            url: Some("https://user:hunter2@receiver.example.com".to_owned()),
            confirmed: false,
        };
        let mut settings = Settings::default();
        settings.security.verify = false;
        let error =
            prepare_load(&settings, &Clock::system(), &Principal::LocalOperator, &request).err().unwrap().to_string();
        assert!(error.contains("receiver.example.com") && !error.contains("hunter2"), "{error}");
        request.confirmed = true;
        let options = prepare_load(&settings, &Clock::system(), &Principal::LocalOperator, &request).unwrap();
        assert_eq!((options.url.path(), options.key.is_none()), ("/api/v1/webhook/retell", true));
    }
}
