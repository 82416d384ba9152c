//! Rejected requests: all are counted. Within the rate limits each one is also diagnosed after its response, logged,
//! and stored in the ring of rejected requests.

mod pending_rejection;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::pending_rejection::PendingRejection;
use crate::base::clock::to_unsigned_ms;
use crate::base::supervise::Supervisor;
use crate::base::token_bucket::TokenBucket;
use crate::base::unrouted_reason::UnroutedReason;
use crate::http::layer::{ForbiddenRequest, RefusalLogLimit, SignatureRejection, UnreadBody};
use crate::http::unknown_path_response;
use crate::privacy::redact;
use crate::security::diagnose;
use crate::security::diagnosis::{Diagnosis, DigestCheck};
use crate::security::signature::SIGNATURE_HEADER;
use crate::storage::{RejectedId, RejectedRequest, RejectedStore};
use crate::telemetry::activity::SignatureAge;
use crate::telemetry::requests::RequestCounters;
use crate::tenants::CurrentCompanyDirectory;
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use axum::response::Response;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Maximum number of rejected requests that wait for their diagnosis; further ones are only counted.
const QUEUE_CAPACITY: usize = 64;
/// Maximum number of diagnoses per second; above it requests are logged and stored with the bare reason.
const DIAGNOSES_PER_SECOND: u32 = 10;
/// Bodies of stale requests that are read after the response: burst, then number per second.
const BODY_READ_RATE: (u32, u32) = (10, 10);
/// Time limit for storing one rejected request; afterwards it is only logged.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of the log line that counts the suppressed requests.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
/// Time limit for the waiting requests when the receiver stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// How rejected requests are diagnosed and stored.
pub(crate) struct RejectionSettings {
    /// Maximum difference between a signature's time and the receiver's clock (`security.signature_tolerance_ms`).
    pub(crate) signature_tolerance_ms: i64,
    /// Whether bodies are stored too (`security.keep_rejected_bodies`).
    pub(crate) keep_bodies: bool,
    /// The webhook URL to enter in Retell's dashboard.
    pub(crate) webhook_url: String,
    /// The companies whose keys may have signed a rejected request.
    pub(crate) companies: CurrentCompanyDirectory,
}

/// Records rejected requests. On the request path this costs a few short copies at most.
pub(crate) struct RejectionRecorder {
    counters: Arc<RequestCounters>,
    supervisor: Supervisor,
    log_limit: Arc<RefusalLogLimit>,
    body_reads: Mutex<TokenBucket>,
    started_at: Instant,
    queue: mpsc::Sender<PendingRejection>,
    webhook_url: String,
    companies: CurrentCompanyDirectory,
}

impl RejectionRecorder {
    /// Starts the diagnosis task under `supervisor`. It also logs what `log_limit` suppressed, once per minute.
    pub(crate) fn start(
        settings: RejectionSettings,
        store: Arc<dyn RejectedStore>,
        counters: Arc<RequestCounters>,
        log_limit: Arc<RefusalLogLimit>,
        supervisor: &Supervisor,
    ) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_CAPACITY);
        let started_at = Instant::now();
        let worker = DiagnosisWorker {
            store,
            counters: Arc::clone(&counters),
            log_limit: Arc::clone(&log_limit),
            started_at,
            diagnosis_rate: TokenBucket::new(DIAGNOSES_PER_SECOND, DIAGNOSES_PER_SECOND, 0),
            signature_tolerance_ms: settings.signature_tolerance_ms,
            keep_bodies: settings.keep_bodies,
        };
        supervisor.spawn("rejections", worker.run(waiting, supervisor.clone()));
        Arc::new(Self {
            counters,
            supervisor: supervisor.clone(),
            log_limit,
            body_reads: Mutex::new(TokenBucket::new(BODY_READ_RATE.0, BODY_READ_RATE.1, 0)),
            started_at,
            queue,
            webhook_url: settings.webhook_url,
            companies: settings.companies,
        })
    }

    /// Counts a rejected request and, within the limits, queues it for its diagnosis.
    pub(crate) fn record(&self, rejection: &SignatureRejection) {
        self.counters.count_rejected(rejection.reason.into());
        if !self.log_limit.try_acquire(rejection.client_ip) {
            return;
        }
        // The queue entry is reserved first: without one the copies below would be wasted.
        let Ok(permit) = self.queue.clone().try_reserve_owned() else {
            return self.log_limit.count_suppressed(rejection.client_ip);
        };
        let pending = PendingRejection::from_request(rejection, &self.companies.get());
        match rejection.take_unread_body() {
            Some(unread) if self.try_acquire_body_read() => self.enqueue_after_body(unread, pending, permit),
            _ => drop(permit.send(pending)),
        }
    }

    /// Queues a request from an address that is not on the allowlist; it has been counted and logged.
    pub(crate) fn record_forbidden(&self, request: &ForbiddenRequest<'_>) {
        if let Ok(permit) = self.queue.clone().try_reserve_owned() {
            permit.send(PendingRejection::from_forbidden(request));
        }
    }

    fn try_acquire_body_read(&self) -> bool {
        let now_ms = to_unsigned_ms(self.started_at.elapsed());
        self.body_reads.lock().unwrap_or_else(PoisonError::into_inner).try_acquire(now_ms)
    }

    /// Reads the rest of the body while the sender already has its response: only the body shows whether a stale
    /// signature is valid apart from its age.
    fn enqueue_after_body(
        &self,
        unread: UnreadBody,
        mut pending: PendingRejection,
        permit: mpsc::OwnedPermit<PendingRejection>,
    ) {
        let supervisor = self.supervisor.clone();
        self.supervisor.spawn_detached(async move {
            pending.body = tokio::select! {
                biased;
                body = unread.read() => body,
                () = supervisor.wait_for_stop() => None,
            };
            permit.send(pending);
        });
    }

    /// Answers a request to an unknown path with 404, and TRACE with 405 as on every path. A signed one is logged: Retell's
    /// dashboard has a wrong webhook URL. Unsigned ones are only counted: scanners send them all the time.
    pub(crate) fn answer_unknown_path(&self, request: &Request) -> Response {
        self.counters.count_unrouted(UnroutedReason::UnknownPath);
        self.log_signed_request(request);
        unknown_path_response(request.method())
    }

    fn log_signed_request(&self, request: &Request) {
        let is_signed = request.method() == Method::POST && request.headers().contains_key(SIGNATURE_HEADER);
        let client_ip = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        if is_signed && self.log_limit.try_acquire(client_ip) {
            let path = redact::path(request.uri().path());
            let client_ip = client_ip.map(tracing::field::display);
            tracing::warn!(
                status = 404,
                client_ip,
                path,
                webhook_url = %self.webhook_url,
                "signed request to unknown path"
            );
        }
    }
}

/// Diagnoses rejected requests one after the other, away from the request path.
struct DiagnosisWorker {
    store: Arc<dyn RejectedStore>,
    counters: Arc<RequestCounters>,
    log_limit: Arc<RefusalLogLimit>,
    started_at: Instant,
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
                _ = summary.tick() => self.log_limit.log_suppressed(),
                pending = waiting.recv() => match pending {
                    Some(pending) => self.process(pending).await,
                    // All senders are gone: the receiver is about to stop.
                    None => supervisor.wait_for_stop().await,
                },
            }
        }
        // Requests that hold a permit can still enter after `close`; new permits are refused.
        waiting.close();
        let drain = async {
            while let Some(pending) = waiting.recv().await {
                self.process(pending).await;
            }
        };
        let _ = timeout(DRAIN_TIMEOUT, drain).await;
        self.log_limit.log_suppressed();
    }

    async fn process(&mut self, pending: PendingRejection) {
        if pending.is_forbidden() {
            let diagnosis = diagnose::format_diagnosis(&pending.diagnose(self.signature_tolerance_ms));
            self.store_rejection(pending.into_rejection(diagnosis, self.keep_bodies)).await;
            return;
        }
        let diagnosis = if self.diagnosis_rate.try_acquire(to_unsigned_ms(self.started_at.elapsed())) {
            let findings = pending.diagnose(self.signature_tolerance_ms);
            self.record_signature_ages(&findings, pending.received_at_ms);
            diagnose::format_diagnosis(&findings)
        } else {
            pending.reason.to_string()
        };
        let client_ip = pending.client_ip.map(tracing::field::display);
        let company = pending.candidate_keys.company_slug.clone();
        // Drops the body unless it is to be stored: until then it counts against the in-flight budget.
        let rejection = pending.into_rejection(diagnosis.clone(), self.keep_bodies);
        let size_bytes = rejection.size_bytes;
        let reason = rejection.reason.as_str();
        let rejected_id = self.store_rejection(rejection).await.map(tracing::field::display);
        tracing::warn!(
            status = 401,
            client_ip,
            company = company.as_deref(),
            size_bytes,
            reason,
            rejected_id,
            diagnosis,
            "webhook request rejected"
        );
    }

    /// Records the age of a stale signature whose digest matches. It is evidence about the clocks, which the
    /// `clock_skew` alarm needs most when every request is rejected as stale.
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
            Ok(Err(error)) => tracing::debug!(%error, "rejected request not stored"),
            Err(_) => tracing::debug!(error = "store timeout after 1 s", "rejected request not stored"),
        }
        None
    }
}
