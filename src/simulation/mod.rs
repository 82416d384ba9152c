//! Simulated calls: their events are sent as Retell would send them, signed, in order within a call, retried until
//! they are acknowledged. Afterwards the store is compared with what was acknowledged.

mod appointment;
mod appointment_slots;
mod business;
mod call;
mod live_answer;
pub(crate) mod load;
mod random;
mod report;
mod request_report;
mod run;
mod scenario;
mod sender;
mod store_check;
mod transcript;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::report::StoreCheck;
use self::run::SimulationRun;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::supervise::TaskGroup;
use crate::config::{DEFAULT_COMPANY_SLUG, FieldError, Settings};
use crate::egress::ClientBuildError;
use crate::security::keys::ApiKey;
use crate::storage::{Store, StoreError};
use crate::view::SimulationView;

pub(crate) use self::scenario::Scenario;
pub(crate) use self::sender::REJECTED_MESSAGE;

/// Number of simulated calls at the same time. Each has at most one request in flight.
const MAX_CONCURRENT_CALLS: u64 = 16;
/// Time that is added to the duration implied by the rate before the run is aborted.
const RUN_GRACE: Duration = Duration::from_secs(24 * 3_600);

/// What to simulate, and where the requests go.
pub(crate) struct SimulationOptions<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) clock: Clock,
    /// URL of the webhook that receives the events.
    pub(crate) url: url::Url,
    /// Slug of the company; `None` is the default company.
    pub(crate) company: Option<String>,
    /// Key that signs the requests; `None` sends them without a signature.
    pub(crate) key: Option<ApiKey>,
    /// Scenarios of the calls, which alternate.
    pub(crate) scenarios: Vec<Scenario>,
    /// Whether missing appointment functions are a failure.
    pub(crate) functions_required: bool,
    pub(crate) calls: u64,
    /// Number of calls to start per second; `None` starts them as fast as they are answered.
    pub(crate) rate: Option<f64>,
    pub(crate) seed: u64,
    /// Whether handlers with external effects process these calls, which they skip as tests otherwise.
    pub(crate) effects: bool,
    pub(crate) store: StoreToCheck,
    /// When canceled, no further calls start, and calls in progress cancel what they booked.
    pub(crate) stop: CancellationToken,
}

/// The store of the receiver, if it can be read from here.
pub(crate) enum StoreToCheck {
    Available(Arc<dyn Store>),
    /// The events are not compared with a store, for this reason.
    Unavailable(String),
}

/// How much of the run is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimulationProgress {
    pub(crate) completed_calls: u64,
    /// Number of events that were sent.
    pub(crate) requests: usize,
}

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulationError {
    #[error(transparent)]
    Config(#[from] FieldError),
    #[error(transparent)]
    Client(#[from] ClientBuildError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SimulationOptions<'_> {
    /// The URL to which events are sent. Its query asks for external effects if the options do.
    pub(crate) fn request_url(&self) -> url::Url {
        let mut url = self.url.clone();
        if self.effects {
            url.query_pairs_mut().append_pair("effects", "true");
        }
        url
    }
}

/// A seed of 32 bits: short enough to be typed, and exact as a JSON number.
pub(crate) fn random_seed() -> u64 {
    u64::from_str_radix(&random_hex()[..8], 16).unwrap_or(0)
}

/// Simulates all calls, and compares the store with the acknowledged events. Dropping the future aborts the run and
/// leaves what the calls booked; canceling `stop` in the options ends it in order.
///
/// # Errors
/// The settings do not allow appointments to be simulated, the client cannot be built, or the store cannot be read.
pub(crate) async fn run(
    options: SimulationOptions<'_>,
    on_progress: impl Fn(SimulationProgress) + Send + Sync + 'static,
) -> Result<SimulationView, SimulationError> {
    let run = Arc::new(SimulationRun::new(&options, Box::new(on_progress))?);
    let mut workers = TaskGroup::default();
    for _ in 0..options.calls.min(MAX_CONCURRENT_CALLS) {
        let run = Arc::clone(&run);
        workers.spawn(async move { run.run_worker().await });
    }
    let calls = u32::try_from(options.calls).unwrap_or(u32::MAX);
    let max_duration = RUN_GRACE.saturating_add(run.call_interval.unwrap_or_default().saturating_mul(calls));
    workers.shutdown(max_duration).await;
    let duration = run.started_at.elapsed();
    let sent_events = run.take_sent_events();
    let store_check = match &options.store {
        StoreToCheck::Unavailable(reason) => StoreCheck::Skipped(reason.clone()),
        StoreToCheck::Available(store) => {
            let company = options.company.as_deref().unwrap_or(DEFAULT_COMPANY_SLUG);
            let stored = store_check::find_stored(&**store, &sent_events, company, run.started_ms).await?;
            StoreCheck::Compared(store_check::compare(&sent_events, &stored))
        }
    };
    Ok(report::simulation_view(&options, &run, duration, &sent_events, &store_check))
}
