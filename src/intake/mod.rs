//! The whole promise to Retell on one page: a 2xx means that the signature was checked over the raw bytes and that
//! those bytes are on disk. One exception: the answer to an inbound request is due when it is due, see `inbound.rs`.

mod dedupe;
mod import;
mod inbound;
mod internal;
mod routes;
mod write_behind;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use import::ImportedEvent;
pub(crate) use inbound::{InboundAnswerProvider, InboundWebhook};
pub(crate) use internal::{ALARM_RESOLVED, ALARM_TRIGGERED, INTERNAL_EVENT_NAMES, InternalEvent};
pub(crate) use routes::{
    FunctionAnswerProvider, INSTANCE_HEADER, TEST_PATH, WEBHOOK_PATH, WebhookState, legacy_router, router, webhook_path,
};

use self::write_behind::WriteBehind;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::event::{EventIdentifiers, EventKind, describe};
use crate::http::company::Company;
use crate::http::layer::AccessLogFields;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::signature::Signature;
use crate::storage::{AppendOutcome, NewEvent, Store, StoreError, sanitize_text};
use crate::telemetry::activity::{Activity, SignatureAge};
use crate::telemetry::requests::RequestCounters;

/// How long a request waits for its commit. With the time its body took it stays below Retell's 10 s.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(8);

/// Takes events in.
pub(crate) struct Intake {
    store: Arc<dyn Store>,
    counters: Arc<RequestCounters>,
    event_ids: EventIdGenerator,
    write_behind: WriteBehind,
}

/// What a request is told once its event is on disk, or on its way there while somebody on the line waits.
#[derive(Clone, Debug)]
pub(crate) struct AcceptedEvent {
    /// The event's kind; `Unknown` for one without a known name.
    pub kind: EventKind,
    /// It was on disk already.
    pub duplicate: bool,
    /// For the log.
    pub log_fields: AccessLogFields,
    /// What somebody on the line waits to be answered; it is not counted before that.
    inbound_webhook: Option<InboundWebhook>,
}

/// A request with what its body says it is.
pub(crate) struct IncomingEvent {
    raw: RawEvent,
    head: Option<EventIdentifiers>,
    kind: EventKind,
}

impl IncomingEvent {
    /// Reads name and ids.
    #[must_use]
    pub(crate) fn parse(verified: Verified<RawEvent>) -> Self {
        let raw = verified.into_inner();
        let head = EventIdentifiers::scan(&raw.body).ok();
        let kind = head.as_ref().map_or(EventKind::Unknown, EventIdentifiers::kind);
        Self { raw, head, kind }
    }

    /// The signature that was checked, and when it came, of a body that names no event Retell is known to send.
    #[must_use]
    pub(crate) fn verified_signature_of_unknown_event(&self) -> Option<(&str, i64)> {
        let checked = self.kind == EventKind::Unknown && self.raw.key_fingerprint.is_some();
        self.raw.signature.as_deref().filter(|_| checked).map(|signature| (signature, self.raw.received_at_ms))
    }
}

impl Intake {
    /// Events go to `store` and are counted in `counters`. What `supervisor` runs are commits nobody waits for any more.
    #[must_use]
    pub(crate) fn new(store: Arc<dyn Store>, counters: Arc<RequestCounters>, supervisor: Supervisor) -> Self {
        Self {
            write_behind: WriteBehind::new(Arc::clone(&store), supervisor),
            store,
            counters,
            event_ids: EventIdGenerator::default(),
        }
    }

    /// Keeps a verified request's event for `company`. `Ok` means committed and synced; for inbound requests, that it is on
    /// its way. `unparsed` flags a JSON object that is known to be no event.
    ///
    /// Nothing in the body can make it fail: what is no JSON object is kept and flagged `unparsed`.
    ///
    /// # Errors
    /// [`ApiError::Unavailable`] when it could not be stored: sending it again is safe.
    pub(crate) async fn accept(
        &self,
        company: &Company,
        arrived: IncomingEvent,
        unparsed: bool,
    ) -> Result<AcceptedEvent, ApiError> {
        let IncomingEvent { raw, head, kind } = arrived;
        let (began, size_bytes) = (raw.received_instant, raw.body.len());
        let unparsed = unparsed || head.is_none();
        let event = NewEvent { unparsed, live: kind.is_inbound(), ..self.new_event(company.id, raw, head) };
        if tracing::enabled!(tracing::Level::DEBUG) {
            let (event_id, company) = (&event.id, &company.slug);
            tracing::debug!(%event_id, %company, size_bytes, "webhook body: {}", describe(&event.body));
        }
        warn_unknown_agent(company, &event);
        let (call_id, came) = (event.call_id.clone(), ActivitySample::from_event(&event));
        let mut taken = AccessLogFields { event: kind.as_str(), call_id, outcome: "not_stored", size_bytes };
        if kind.is_inbound() {
            came.record(self.counters.activity());
            let kept = self.write_behind.append(event.clone());
            let inbound = Some(InboundWebhook::new(&event, kind, (company, began), kept));
            return Ok(AcceptedEvent { kind, duplicate: false, log_fields: taken, inbound_webhook: inbound });
        }
        let appended = self.append(event).await.inspect_err(|_| self.record_event(kind, &taken, began))?;
        taken.outcome = outcome_label(&appended);
        self.record_event(kind, &taken, began);
        came.record(self.counters.activity());
        Ok(AcceptedEvent {
            kind,
            duplicate: matches!(appended, AppendOutcome::Duplicate { .. }),
            log_fields: taken,
            inbound_webhook: None,
        })
    }

    fn record_event(&self, kind: EventKind, taken: &AccessLogFields, began: Instant) {
        self.counters.count_event(taken.outcome, kind, taken.size_bytes, began.elapsed());
    }

    async fn append(&self, event: NewEvent) -> Result<AppendOutcome, ApiError> {
        let appended = tokio::time::timeout(COMMIT_TIMEOUT, self.store.append(event)).await.unwrap_or_else(|_| {
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

    fn new_event(&self, company_id: i64, raw: RawEvent, head: Option<EventIdentifiers>) -> NewEvent {
        let told_apart_by = dedupe::dedupe_discriminator(raw.signature.as_deref(), head.as_ref());
        let revisable = head.as_ref().is_some_and(dedupe::is_revisable);
        let head = head.unwrap_or_default();
        NewEvent {
            kind: sanitize_text(head.event_name),
            call_id: sanitize_text(head.call_id.or(head.chat_id)),
            agent_id: sanitize_text(head.agent_id),
            dedupe_discriminator: told_apart_by,
            revisable,
            source: raw.client_ip.map(|peer| peer.to_string()),
            content_type: sanitize_text(raw.content_type),
            query: sanitize_text(raw.query),
            signature: sanitize_text(raw.signature),
            key_fingerprint: raw.key_fingerprint.map(|fingerprint| fingerprint.to_string()),
            ..NewEvent::new(self.event_ids.next_id(raw.received_at_ms), company_id, raw.received_at_ms, raw.body)
        }
    }
}

/// What is kept of an event for telling silence and a wrong clock.
struct ActivitySample {
    company_id: i64,
    agent_id: Option<String>,
    received_at_ms: i64,
    signed_at_ms: Option<i64>,
}

impl ActivitySample {
    fn from_event(event: &NewEvent) -> Self {
        let signature = event.signature.as_ref().filter(|_| event.key_fingerprint.is_some());
        let signed_at_ms =
            signature.and_then(|text| text.parse::<Signature>().ok()).map(|signed| signed.timestamp_ms());
        Self {
            company_id: event.company_id,
            agent_id: event.agent_id.clone(),
            received_at_ms: event.received_at_ms,
            signed_at_ms,
        }
    }

    fn record(&self, activity: &Activity) {
        activity.record_event(self.company_id, self.agent_id.as_deref(), self.received_at_ms);
        if let Some(signed_at_ms) = self.signed_at_ms {
            activity.record_signature_age(SignatureAge {
                received_at_ms: self.received_at_ms,
                age_ms: self.received_at_ms.saturating_sub(signed_at_ms),
            });
        }
    }
}

fn outcome_label(appended: &AppendOutcome) -> &'static str {
    match appended {
        AppendOutcome::Duplicate { .. } => "duplicate",
        AppendOutcome::Stored { unparsed: true, .. } => "unparsed",
        AppendOutcome::Stored { revision: true, .. } => "revision",
        AppendOutcome::Stored { .. } => "stored",
    }
}

/// An agent of somebody else is more likely a webhook URL pasted into the wrong dashboard than an attack: it was signed.
fn warn_unknown_agent(company: &Company, event: &NewEvent) {
    let Some(agent) = event.agent_id.as_ref().filter(|_| !company.agent_ids.is_empty()) else { return };
    if !company.agent_ids.contains(agent) {
        tracing::warn!(
            company = %company.slug,
            agent,
            "webhook event of an agent that is not in the company's `agents`; it is kept all the same"
        );
    }
}
