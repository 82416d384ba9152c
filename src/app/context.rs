//! What the components of a receiver share. It is made first, so that each component is started with parts of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::BuildError;
use super::companies::load_companies;
use super::routes::ReceiverMetrics;
use super::signer::CompanySigner;
use crate::base::clock::Clock;
use crate::base::id::InstanceId;
use crate::base::networks::Networks;
use crate::base::supervise::Supervisor;
use crate::config::{ProgramSearchPath, Settings};
use crate::egress::Egress;
use crate::http::budget::InflightBudget;
use crate::http::layer::RefusalLogLimit;
use crate::outbound::OutboundContext;
use crate::storage::{self, Duty, Role, Store};
use crate::telemetry::logging::DroppedLines;
use crate::tenants::CurrentCompanyDirectory;

/// The shared parts. Clones share everything.
#[derive(Clone)]
pub(crate) struct AppContext {
    pub(crate) instance_id: InstanceId,
    pub(crate) store: Arc<dyn Store>,
    /// The folder of the store, whose disk is watched.
    pub(crate) store_folder: PathBuf,
    pub(crate) companies: CurrentCompanyDirectory,
    pub(crate) clock: Clock,
    pub(crate) supervisor: Supervisor,
    pub(crate) outbound: OutboundContext,
    pub(crate) metrics: ReceiverMetrics,
    pub(crate) trusted_proxies: Networks,
    pub(crate) refusal_log_limit: Arc<RefusalLogLimit>,
}

impl AppContext {
    /// Opens the store, loads the companies and prepares outbound requests.
    pub(super) async fn open(
        settings: &Settings,
        clock: Clock,
        dropped_lines: DroppedLines,
        supervisor: Supervisor,
    ) -> Result<Self, BuildError> {
        let store = storage::open(&settings.storage.url, Role::Receiver, &supervisor)?;
        let companies = CurrentCompanyDirectory::new(load_companies(settings, &*store).await?);
        let outbound = OutboundContext {
            clock: clock.clone(),
            program_search_path: ProgramSearchPath::from_process(),
            egress: Egress::new(&settings.egress),
            retell_signer: Arc::new(CompanySigner(companies.clone())),
        };
        let instance_id = InstanceId::random();
        record_instance(&*store, &instance_id, &clock).await;
        let inflight_budget = InflightBudget::new(settings.server.inflight_limit_bytes);
        Ok(Self {
            instance_id,
            store,
            store_folder: settings.storage.url.folder().to_owned(),
            companies,
            metrics: ReceiverMetrics::new(inflight_budget, dropped_lines, clock.now_ms()),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            refusal_log_limit: Arc::default(),
            clock,
            supervisor,
            outbound,
        })
    }
}

/// Commands compare the id with that of the receiver that answers at the address of the settings. Only one receiver can
/// have the store open.
async fn record_instance(store: &dyn Store, instance_id: &InstanceId, clock: &Clock) {
    if let Err(error) = store.try_lead(Duty::Requests, instance_id, i64::MAX, clock.now_ms()).await {
        tracing::warn!(%error, "receiver id not stored");
    }
}
