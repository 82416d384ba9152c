//! What becomes of refused requests: all are counted; of those that do not come in floods, the reason is found out after
//! the answer, logged, and kept in the store's ring.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::pending_rejection::PendingRejection;
use super::rejection_log_limit::RejectionLogLimit;
use crate::base::supervise::Supervisor;
use crate::http::company::CurrentCompanyDirectory;
use crate::http::layer::{SignatureRejection, UnreadBody};
use crate::security::diagnose;
use crate::security::diagnosis::{Diagnosis, DigestCheck};
use crate::security::rate_limit::TokenBucket;
use crate::security::redact;
use crate::security::signature::SIGNATURE_HEADER;
use crate::storage::{RejectedId, RejectedRequest, Store};
use crate::telemetry::activity::SignatureAge;
use crate::telemetry::requests::RequestCounters;

/// Refused requests waiting to be looked at; further ones are counted and nothing else.
const QUEUE_CAPACITY: usize = 64;
/// Diagnoses a second; further requests are kept and logged with the bare reason.
const DIAGNOSES_PER_SECOND: u32 = 10;
/// How long the store may take to keep one. Longer, and it is only logged.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is said how many were not shown.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
/// How long those that wait are looked at when the service stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// What is done with refused requests besides counting them.
pub(super) struct RejectionSettings {
    /// How far from now a signature may be.
    pub(super) signature_tolerance_ms: i64,
    /// Whether bodies go into the ring.
    pub(super) keep_bodies: bool,
    /// The address to paste into Retell's dashboard.
    pub(super) webhook_url: String,
    /// Whose keys may have signed what was refused.
    pub(super) companies: CurrentCompanyDirectory,
}

/// Takes refused requests in. Costs the request a few short copies at most.
pub(super) struct RejectionRecorder {
    counters: Arc<RequestCounters>,
    supervisor: Supervisor,
    log_limit: Arc<RejectionLogLimit>,
    queue: mpsc::Sender<PendingRejection>,
    webhook_url: String,
    companies: CurrentCompanyDirectory,
}

impl RejectionRecorder {
    /// Starts the part that looks at them.
    pub(super) fn start(
        rules: RejectionSettings,
        store: Arc<dyn Store>,
        counters: Arc<RequestCounters>,
        supervisor: &Supervisor,
    ) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_CAPACITY);
        let gate = Arc::new(RejectionLogLimit::new());
        let desk = DiagnosisWorker {
            store,
            counters: Arc::clone(&counters),
            log_limit: Arc::clone(&gate),
            diagnosis_rate: TokenBucket::new(DIAGNOSES_PER_SECOND, DIAGNOSES_PER_SECOND, 0),
            signature_tolerance_ms: rules.signature_tolerance_ms,
            keep_bodies: rules.keep_bodies,
        };
        supervisor.spawn("refusals", desk.run(waiting, supervisor.clone()));
        Arc::new(Self {
            counters,
            supervisor: supervisor.clone(),
            log_limit: gate,
            queue,
            webhook_url: rules.webhook_url,
            companies: rules.companies,
        })
    }

    /// A request was refused.
    pub(super) fn record(&self, refused: &SignatureRejection) {
        self.counters.count(refused.reason.label());
        if !self.log_limit.try_acquire_log(refused.client_ip) {
            return self.log_limit.count_suppressed(refused.client_ip);
        }
        let Ok(place) = self.queue.clone().try_reserve_owned() else {
            return self.log_limit.count_suppressed(refused.client_ip);
        };
        let case = PendingRejection::from_request(refused, &self.companies.get());
        match refused.take_unread_body().filter(|_| self.log_limit.try_acquire_body_read()) {
            Some(unread) => self.enqueue_after_body(unread, case, place),
            None => drop(place.send(case)),
        }
    }

    /// Reads what the sender was on the way of sending, while it gets its answer: a body shows whether a stale signature
    /// is right otherwise.
    fn enqueue_after_body(
        &self,
        unread: UnreadBody,
        mut case: PendingRejection,
        place: mpsc::OwnedPermit<PendingRejection>,
    ) {
        let supervisor = self.supervisor.clone();
        self.supervisor.spawn_detached(async move {
            case.body = tokio::select! {
                biased;
                body = unread.read() => body,
                () = supervisor.wait_for_stop() => None,
            };
            place.send(case);
        });
    }

    /// A request came to a path that is not served. If it is a signed one, somebody pasted a wrong address.
    pub(super) fn log_unknown_path(&self, request: &Request) {
        let signed = request.method() == Method::POST && request.headers().contains_key(SIGNATURE_HEADER);
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        if signed && self.log_limit.try_acquire_log(peer) {
            let path = redact::path(request.uri().path());
            let peer = peer.map(tracing::field::display);
            tracing::warn!(
                peer,
                path,
                "a signed webhook came to a path that is not served (404): paste {} into Retell's dashboard as webhook URL",
                self.webhook_url
            );
        }
    }
}

/// Where refused requests are looked at, one after the other.
struct DiagnosisWorker {
    store: Arc<dyn Store>,
    counters: Arc<RequestCounters>,
    log_limit: Arc<RejectionLogLimit>,
    diagnosis_rate: TokenBucket,
    signature_tolerance_ms: i64,
    keep_bodies: bool,
}

impl DiagnosisWorker {
    async fn run(mut self, mut waiting: mpsc::Receiver<PendingRejection>, supervisor: Supervisor) {
        let mut summary = interval(SUMMARY_INTERVAL);
        summary.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = supervisor.wait_for_stop() => break,
                _ = summary.tick() => self.log_suppressed(),
                case = waiting.recv() => match case {
                    Some(case) => self.process(case).await,
                    // Nobody can refuse anything any more; the service is about to stop.
                    None => supervisor.wait_for_stop().await,
                },
            }
        }
        // Those that have a place already are let in, further ones are not.
        waiting.close();
        let rest = async {
            while let Some(case) = waiting.recv().await {
                self.process(case).await;
            }
        };
        let _ = timeout(DRAIN_TIMEOUT, rest).await;
        self.log_suppressed();
    }

    async fn process(&mut self, case: PendingRejection) {
        let diagnosis = if self.diagnosis_rate.try_acquire(self.log_limit.elapsed_ms()) {
            let findings = case.diagnose(self.signature_tolerance_ms);
            self.record_signature_ages(&findings, case.received_at_ms);
            diagnose::format_diagnosis(&findings)
        } else {
            case.reason.to_string()
        };
        let (peer, company) = (case.client_ip, case.candidate_keys.company_slug.clone());
        // From here on the body is held only if it is to be kept: it counts against the bytes in flight.
        let rejection = case.into_rejection(diagnosis.clone(), self.keep_bodies);
        let (size_bytes, reason) = (rejection.size_bytes, rejection.reason.clone());
        let rejected = self.store_rejection(rejection).await.map(tracing::field::display);
        let (peer, company) = (peer.map(tracing::field::display), company.as_deref());
        tracing::warn!(peer, company, size_bytes, reason, rejected, "webhook refused (401): {diagnosis}");
    }

    /// A signature that is right but for its age tells about the clocks.
    fn record_signature_ages(&self, findings: &[Diagnosis], at_ms: i64) {
        for finding in findings {
            if let Diagnosis::Stale { age_ms, digest: DigestCheck::Matches } = *finding {
                self.counters.activity().record_signature_age(SignatureAge { received_at_ms: at_ms, age_ms });
            }
        }
    }

    async fn store_rejection(&self, rejection: RejectedRequest) -> Option<RejectedId> {
        match timeout(STORE_TIMEOUT, self.store.insert_rejected(rejection)).await {
            Ok(Ok(id)) => return Some(id),
            Ok(Err(error)) => tracing::debug!(%error, "a refused request was not kept"),
            Err(_) => tracing::debug!("a refused request was not kept within a second"),
        }
        None
    }

    fn log_suppressed(&self) {
        let hidden = self.log_limit.take_suppressed();
        if hidden.count > 0 {
            let from = hidden.first_client_ip.map_or("an unknown address".into(), |peer: IpAddr| peer.to_string());
            let others = if hidden.has_other_clients { " and others" } else { "" };
            tracing::warn!("{} more refused from {from}{others}, not shown", hidden.count);
        }
    }
}
