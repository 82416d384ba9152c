//! The whole promise to Retell on one page: a 2xx means that the signature was checked over the raw bytes and that
//! those bytes are on disk. One exception: the answer to an inbound request is due when it is due, see `inbound.rs`.

mod dedupe;
mod import;
mod inbound;
mod internal;
mod line;
mod routes;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use import::Past;
pub use inbound::{AnswerInbound, Inbound};
pub use internal::{ALARM_RESOLVED, ALARM_TRIGGERED, INTERNAL_EVENTS, Internal};
pub use line::Kept;
pub use routes::{CallsFunctions, Endpoint, INSTANCE, TEST_PATH, WEBHOOK_PATH, guide_router, router, webhook_path};

use self::line::Line;
use crate::base::id::EventIds;
use crate::base::supervise::Supervisor;
use crate::event::{EventKind, Head, describe};
use crate::http::company::Company;
use crate::http::layer::Taken;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::signature::Signature;
use crate::storage::{Appended, NewEvent, Store, StoreError, bounded};
use crate::telemetry::activity::{Activity, Age};
use crate::telemetry::counters::Counters;

/// How long a request waits for its commit. With the time its body took it stays below Retell's 10 s.
const COMMIT: Duration = Duration::from_secs(8);

/// Takes events in.
pub struct Intake {
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    ids: EventIds,
    line: Line,
}

/// What a request is told once its event is on disk, or on its way there while somebody on the line waits.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The event's kind; `Unknown` for one without a known name.
    pub kind: EventKind,
    /// It was on disk already.
    pub duplicate: bool,
    /// For the log.
    pub taken: Taken,
    /// What somebody on the line waits to be answered; it is not counted before that.
    inbound: Option<Inbound>,
}

/// A request with what its body says it is.
pub struct Arrived {
    raw: RawEvent,
    head: Option<Head>,
    kind: EventKind,
}

impl Arrived {
    /// Reads name and ids.
    #[must_use]
    pub fn read(verified: Verified<RawEvent>) -> Self {
        let raw = verified.into_inner();
        let head = Head::scan(&raw.body).ok();
        let kind = head.as_ref().map_or(EventKind::Unknown, Head::kind);
        Self { raw, head, kind }
    }

    /// The signature that was checked, and when it came, of a body that names no event Retell is known to send.
    #[must_use]
    pub fn signature_of_unknown(&self) -> Option<(&str, i64)> {
        let checked = self.kind == EventKind::Unknown && self.raw.key_fingerprint.is_some();
        self.raw.signature.as_deref().filter(|_| checked).map(|signature| (signature, self.raw.received_at_ms))
    }
}

impl Intake {
    /// Events go to `store` and are counted in `counters`. What `supervisor` runs are commits nobody waits for any more.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, counters: Arc<Counters>, supervisor: Supervisor) -> Self {
        Self { line: Line::new(Arc::clone(&store), supervisor), store, counters, ids: EventIds::default() }
    }

    /// Keeps a verified request's event for `company`. `Ok` means committed and synced; for inbound requests, that it is on
    /// its way. `unparsed` flags a JSON object that is known to be no event.
    ///
    /// Nothing in the body can make it fail: what is no JSON object is kept and flagged `unparsed`.
    ///
    /// # Errors
    /// [`ApiError::Unavailable`] when it could not be stored: sending it again is safe.
    pub async fn accept(&self, company: &Company, arrived: Arrived, unparsed: bool) -> Result<Accepted, ApiError> {
        let Arrived { raw, head, kind } = arrived;
        let (began, size_bytes) = (raw.began, raw.body.len());
        let unparsed = unparsed || head.is_none();
        let event = NewEvent { unparsed, on_the_line: kind.is_inbound(), ..self.new_event(company.id, raw, head) };
        if tracing::enabled!(tracing::Level::DEBUG) {
            let (event_id, company) = (&event.id, &company.slug);
            tracing::debug!(%event_id, %company, size_bytes, "webhook body: {}", describe(&event.body));
        }
        warn_of_strange_agent(company, &event);
        let (call_id, came) = (event.call_id.clone(), Came::of(&event));
        let mut taken = Taken { event: kind.as_str(), call_id, outcome: "not_stored", size_bytes };
        if kind.is_inbound() {
            came.note(self.counters.activity());
            let kept = self.line.keep(event.clone());
            let inbound = Some(Inbound::of(&event, kind, (company, began), kept));
            return Ok(Accepted { kind, duplicate: false, taken, inbound });
        }
        let appended = self.append(event).await.inspect_err(|_| self.count(kind, &taken, began))?;
        taken.outcome = outcome(&appended);
        self.count(kind, &taken, began);
        came.note(self.counters.activity());
        Ok(Accepted { kind, duplicate: matches!(appended, Appended::Duplicate { .. }), taken, inbound: None })
    }

    fn count(&self, kind: EventKind, taken: &Taken, began: Instant) {
        self.counters.count_event(taken.outcome, kind, taken.size_bytes, began.elapsed());
    }

    async fn append(&self, event: NewEvent) -> Result<Appended, ApiError> {
        let appended = tokio::time::timeout(COMMIT, self.store.append(event)).await.unwrap_or_else(|_| {
            tracing::warn!(
                "a webhook's commit took longer than 8 s (503); the event may be kept yet, a resent one is a duplicate"
            );
            Err(StoreError::Unavailable("the commit took too long".into()))
        });
        appended.map_err(|error| {
            // The store says by itself, once, that it is away.
            if !matches!(error, StoreError::Unavailable(_)) {
                tracing::error!(%error, "webhook not stored (503)");
            }
            ApiError::Unavailable
        })
    }

    fn new_event(&self, company_id: i64, raw: RawEvent, head: Option<Head>) -> NewEvent {
        let told_apart_by = dedupe::told_apart_by(raw.signature.as_deref(), head.as_ref());
        let revisable = head.as_ref().is_some_and(dedupe::is_revisable);
        let head = head.unwrap_or_default();
        NewEvent {
            event: bounded(head.event),
            call_id: bounded(head.call_id.or(head.chat_id)),
            agent_id: bounded(head.agent_id),
            told_apart_by,
            revisable,
            source: raw.peer.map(|peer| peer.to_string()),
            content_type: bounded(raw.content_type),
            query: bounded(raw.query),
            signature: bounded(raw.signature),
            key_fingerprint: raw.key_fingerprint.map(|fingerprint| fingerprint.to_string()),
            ..NewEvent::new(self.ids.next(raw.received_at_ms), company_id, raw.received_at_ms, raw.body)
        }
    }
}

/// What is kept of an event for telling silence and a wrong clock.
struct Came {
    company_id: i64,
    agent_id: Option<String>,
    at_ms: i64,
    signed_at_ms: Option<i64>,
}

impl Came {
    fn of(event: &NewEvent) -> Self {
        let signature = event.signature.as_ref().filter(|_| event.key_fingerprint.is_some());
        let signed_at_ms =
            signature.and_then(|text| text.parse::<Signature>().ok()).map(|signed| signed.timestamp_ms());
        Self {
            company_id: event.company_id,
            agent_id: event.agent_id.clone(),
            at_ms: event.received_at_ms,
            signed_at_ms,
        }
    }

    fn note(&self, activity: &Activity) {
        activity.note(self.company_id, self.agent_id.as_deref(), self.at_ms);
        if let Some(signed_at_ms) = self.signed_at_ms {
            activity.note_age(Age { at_ms: self.at_ms, age_ms: self.at_ms.saturating_sub(signed_at_ms) });
        }
    }
}

fn outcome(appended: &Appended) -> &'static str {
    match appended {
        Appended::Duplicate { .. } => "duplicate",
        Appended::Stored { unparsed: true, .. } => "unparsed",
        Appended::Stored { revision: true, .. } => "revision",
        Appended::Stored { .. } => "stored",
    }
}

/// An agent of somebody else is more likely a webhook URL pasted into the wrong dashboard than an attack: it was signed.
fn warn_of_strange_agent(company: &Company, event: &NewEvent) {
    let Some(agent) = event.agent_id.as_ref().filter(|_| !company.agents.is_empty()) else { return };
    if !company.agents.contains(agent) {
        tracing::warn!(
            company = %company.slug,
            agent,
            "webhook event of an agent that is not in the company's `agents`; it is kept all the same"
        );
    }
}
