//! What becomes of refused requests: all are counted; of those that do not come in floods, the reason is found out after
//! the answer, logged, and kept in the store's ring.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::case::Case;
use super::gate::Gate;
use crate::base::supervise::Supervisor;
use crate::http::company::CurrentCompanies;
use crate::http::layer::{Refused, Unread};
use crate::security::bucket::Bucket;
use crate::security::diagnose;
use crate::security::finding::{Digest, Finding};
use crate::security::redact;
use crate::security::signature::SIGNATURE_HEADER;
use crate::storage::{RejectedId, Rejection, Store};
use crate::telemetry::activity::Age;
use crate::telemetry::counters::Counters;

/// Refused requests waiting to be looked at; further ones are counted and nothing else.
const QUEUE: usize = 64;
/// Diagnoses a second; further requests are kept and logged with the bare reason.
const DIAGNOSES: u32 = 10;
/// How long the store may take to keep one. Longer, and it is only logged.
const KEEPING: Duration = Duration::from_secs(1);
/// How often it is said how many were not shown.
const SUMMARY: Duration = Duration::from_secs(60);
/// How long those that wait are looked at when the service stops.
const DRAIN: Duration = Duration::from_secs(3);

/// What is done with refused requests besides counting them.
pub(super) struct Rules {
    /// How far from now a signature may be.
    pub(super) window_ms: i64,
    /// Whether bodies go into the ring.
    pub(super) keep_bodies: bool,
    /// The address to paste into Retell's dashboard.
    pub(super) webhook_url: String,
    /// Whose keys may have signed what was refused.
    pub(super) companies: CurrentCompanies,
}

/// Takes refused requests in. Costs the request a few short copies at most.
pub(super) struct Refusals {
    counters: Arc<Counters>,
    supervisor: Supervisor,
    gate: Arc<Gate>,
    queue: mpsc::Sender<Case>,
    webhook_url: String,
    companies: CurrentCompanies,
}

impl Refusals {
    /// Starts the part that looks at them.
    pub(super) fn start(
        rules: Rules,
        store: Arc<dyn Store>,
        counters: Arc<Counters>,
        supervisor: &Supervisor,
    ) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let gate = Arc::new(Gate::new());
        let desk = Desk {
            store,
            counters: Arc::clone(&counters),
            gate: Arc::clone(&gate),
            diagnoses: Bucket::new(DIAGNOSES, DIAGNOSES, 0),
            window_ms: rules.window_ms,
            keep_bodies: rules.keep_bodies,
        };
        supervisor.spawn("refusals", desk.run(waiting, supervisor.clone()));
        Arc::new(Self {
            counters,
            supervisor: supervisor.clone(),
            gate,
            queue,
            webhook_url: rules.webhook_url,
            companies: rules.companies,
        })
    }

    /// A request was refused.
    pub(super) fn note(&self, refused: &Refused) {
        self.counters.count(refused.reason.label());
        if !self.gate.admits(refused.peer) {
            return self.gate.hide(refused.peer);
        }
        let Ok(place) = self.queue.clone().try_reserve_owned() else {
            return self.gate.hide(refused.peer);
        };
        let case = Case::of(refused, &self.companies.get());
        match refused.take_unread().filter(|_| self.gate.admits_reading()) {
            Some(unread) => self.read_first(unread, case, place),
            None => drop(place.send(case)),
        }
    }

    /// Reads what the sender was on the way of sending, while it gets its answer: a body shows whether a stale signature
    /// is right otherwise.
    fn read_first(&self, unread: Unread, mut case: Case, place: mpsc::OwnedPermit<Case>) {
        let supervisor = self.supervisor.clone();
        self.supervisor.spawn_detached(async move {
            case.body = tokio::select! {
                biased;
                body = unread.read() => body,
                () = supervisor.stopping() => None,
            };
            place.send(case);
        });
    }

    /// A request came to a path that is not served. If it is a signed one, somebody pasted a wrong address.
    pub(super) fn note_unknown_path(&self, request: &Request) {
        let signed = request.method() == Method::POST && request.headers().contains_key(SIGNATURE_HEADER);
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        if signed && self.gate.admits(peer) {
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
struct Desk {
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    gate: Arc<Gate>,
    diagnoses: Bucket,
    window_ms: i64,
    keep_bodies: bool,
}

impl Desk {
    async fn run(mut self, mut waiting: mpsc::Receiver<Case>, supervisor: Supervisor) {
        let mut summary = interval(SUMMARY);
        summary.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = supervisor.stopping() => break,
                _ = summary.tick() => self.sum_up(),
                case = waiting.recv() => match case {
                    Some(case) => self.look_at(case).await,
                    // Nobody can refuse anything any more; the service is about to stop.
                    None => supervisor.stopping().await,
                },
            }
        }
        // Those that have a place already are let in, further ones are not.
        waiting.close();
        let rest = async {
            while let Some(case) = waiting.recv().await {
                self.look_at(case).await;
            }
        };
        let _ = timeout(DRAIN, rest).await;
        self.sum_up();
    }

    async fn look_at(&mut self, case: Case) {
        let diagnosis = if self.diagnoses.take(self.gate.now_ms()) {
            let findings = case.diagnose(self.window_ms);
            self.note_clock(&findings, case.received_at_ms);
            diagnose::text(&findings)
        } else {
            case.reason.to_string()
        };
        let (peer, company) = (case.peer, case.whose.company.clone());
        // From here on the body is held only if it is to be kept: it counts against the bytes in flight.
        let rejection = case.into_rejection(diagnosis.clone(), self.keep_bodies);
        let (size_bytes, reason) = (rejection.size_bytes, rejection.reason.clone());
        let rejected = self.keep(rejection).await.map(tracing::field::display);
        let (peer, company) = (peer.map(tracing::field::display), company.as_deref());
        tracing::warn!(peer, company, size_bytes, reason, rejected, "webhook refused (401): {diagnosis}");
    }

    /// A signature that is right but for its age tells about the clocks.
    fn note_clock(&self, findings: &[Finding], at_ms: i64) {
        for finding in findings {
            if let Finding::Stale { age_ms, digest: Digest::Fits } = *finding {
                self.counters.activity().note_age(Age { at_ms, age_ms });
            }
        }
    }

    async fn keep(&self, rejection: Rejection) -> Option<RejectedId> {
        match timeout(KEEPING, self.store.reject(rejection)).await {
            Ok(Ok(id)) => return Some(id),
            Ok(Err(error)) => tracing::debug!(%error, "a refused request was not kept"),
            Err(_) => tracing::debug!("a refused request was not kept within a second"),
        }
        None
    }

    fn sum_up(&self) {
        let hidden = self.gate.take_hidden();
        if hidden.count > 0 {
            let from = hidden.first.map_or("an unknown address".into(), |peer: IpAddr| peer.to_string());
            let others = if hidden.others { " and others" } else { "" };
            tracing::warn!("{} more refused from {from}{others}, not shown", hidden.count);
        }
    }
}
