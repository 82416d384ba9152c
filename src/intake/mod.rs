//! The promise to Retell on one page: a 2xx means that the signature was checked over the raw bytes, and that those
//! bytes are on disk. There is one exception. An inbound request has a caller waiting, so its answer is sent at the
//! deadline even if the store is slow or unavailable, see `write_behind.rs`.

mod dedupe;
mod import;
mod internal;
mod live_request;
mod write_behind;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use import::ImportedEvent;
pub(crate) use internal::InternalEvent;
pub(crate) use live_request::LiveInboundRequest;
pub(crate) use write_behind::PendingWrite;

use self::write_behind::WriteBehind;
use crate::base::id::{CompanyId, EventIdGenerator};
use crate::base::supervise::Supervisor;
use crate::config::InboundKind;
use crate::event::{EventIdentifiers, EventKind, describe};
use crate::http::layer::AccessLogFields;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::signature::Signature;
use crate::storage::{AppendOutcome, Journal, NewEvent, StoreError, sanitize_text};
use crate::telemetry::activity::{Activity, SignatureAge};
use crate::telemetry::requests::{IntakeOutcome, RequestCounters};
use crate::tenants::Company;

/// How long a request waits for its commit. Together with the time for reading the body it stays below the 10 s after
/// which Retell gives up and sends the event again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(8);

/// Accepts verified events and stores them.
pub(crate) struct Intake {
    journal: Arc<dyn Journal>,
    counters: Arc<RequestCounters>,
    event_ids: EventIdGenerator,
    write_behind: WriteBehind,
}

/// An accepted event: on disk, or an inbound request that is being stored.
pub(crate) enum AcceptedEvent {
    /// It is on disk.
    Stored {
        /// Whether the same event was on disk before.
        duplicate: bool,
        log_fields: AccessLogFields,
    },
    /// An inbound request, which is being stored and has yet to be answered. Call [`Intake::record_answered`] then.
    Live {
        request: LiveInboundRequest,
        /// The outcome is known only after the answer.
        log_fields: AccessLogFields,
    },
}

/// A verified request, with the name and the ids in its body.
pub(crate) struct IncomingEvent {
    verified: Verified<RawEvent>,
    head: Option<EventIdentifiers>,
    kind: EventKind,
}

impl IncomingEvent {
    /// Reads only the name and the ids in the body. The rest is the handlers' concern.
    #[must_use]
    pub(crate) fn parse(verified: Verified<RawEvent>) -> Self {
        let head = EventIdentifiers::scan(&verified.get().body).ok();
        let kind = head.as_ref().map_or(EventKind::Unknown, EventIdentifiers::kind);
        Self { verified, head, kind }
    }

    pub(crate) fn raw(&self) -> &RawEvent {
        self.verified.get()
    }

    /// The request as it was, for code that does not take it as an event.
    pub(crate) fn into_verified(self) -> Verified<RawEvent> {
        self.verified
    }

    /// Whether the body names an event that Retell is known to send.
    pub(crate) fn is_known_event(&self) -> bool {
        self.kind != EventKind::Unknown
    }

    /// Whether the body has an event name, known or not.
    pub(crate) fn has_event_name(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.event_name.as_ref().is_some_and(|name| !name.is_empty()))
    }

    /// The verified signature and the time of receipt, for a body that names no event Retell is known to send. `None`
    /// for a known event, and when verification is off.
    #[must_use]
    pub(crate) fn verified_signature_of_unknown_event(&self) -> Option<(&str, i64)> {
        let raw = self.raw();
        if self.is_known_event() || raw.key_fingerprint.is_none() {
            return None;
        }
        let signature = raw.signature.as_deref()?;
        Some((signature, raw.received_at_ms))
    }
}

impl Intake {
    /// Stores events in `store` and counts them in `counters`. `supervisor` runs the writes of inbound requests,
    /// which may outlast their request.
    #[must_use]
    pub(crate) fn new(journal: Arc<dyn Journal>, counters: Arc<RequestCounters>, supervisor: Supervisor) -> Self {
        Self {
            write_behind: WriteBehind::new(Arc::clone(&journal), supervisor),
            journal,
            counters,
            event_ids: EventIdGenerator::default(),
        }
    }

    /// Stores the event of a verified request for `company`. `Ok` means committed and synced; for an inbound request
    /// it means that the write has begun. `unparsed` flags a JSON object that is known not to be an event.
    ///
    /// No body is rejected: one that is not a JSON object is stored and flagged `unparsed`. An authentic event that
    /// this version cannot read must not be lost.
    ///
    /// # Errors
    /// [`ApiError::Unavailable`] when the event was not stored in time. Sending it again is safe.
    pub(crate) async fn accept(
        &self,
        company: &Company,
        incoming: IncomingEvent,
        unparsed: bool,
    ) -> Result<AcceptedEvent, ApiError> {
        let IncomingEvent { verified, head, kind } = incoming;
        let raw = verified.into_inner();
        let received_at = raw.received_instant;
        let size_bytes = raw.body.len();
        let unparsed = unparsed || head.is_none();
        let event = NewEvent { unparsed, live: kind.is_inbound(), ..self.new_event(company.id, raw, head) };
        // `describe` walks the whole body, so it runs only when the line is written.
        if tracing::enabled!(tracing::Level::DEBUG) {
            let shape = describe(&event.body);
            tracing::debug!(event_id = %event.id, company = %company.slug, size_bytes, %shape, "webhook body");
        }
        warn_unknown_agent(company, &event);
        let activity = ActivitySample::from_event(&event);
        let call_id = event.call_id.clone();
        let not_stored = IntakeOutcome::NotStored;
        let mut log_fields =
            AccessLogFields { event: kind.as_str(), call_id, outcome: not_stored.as_str(), size_bytes };
        if let Some(inbound_kind) = inbound_kind(kind) {
            // The request is answered whether or not the write succeeds, so it is activity in both cases.
            activity.record(self.counters.activity());
            let pending_write = self.write_behind.append(event.clone());
            let request = LiveInboundRequest::new(inbound_kind, event, company, received_at, pending_write);
            return Ok(AcceptedEvent::Live { request, log_fields });
        }
        let appended = self.append(event).await.inspect_err(|_| {
            self.counters.count_event(not_stored, kind, size_bytes, received_at.elapsed());
        })?;
        let outcome = intake_outcome(&appended);
        log_fields.outcome = outcome.as_str();
        self.counters.count_event(outcome, kind, size_bytes, received_at.elapsed());
        // Only after the commit: Retell sends an event again that was not stored, and it would count twice.
        activity.record(self.counters.activity());
        let duplicate = matches!(appended, AppendOutcome::Duplicate { .. });
        Ok(AcceptedEvent::Stored { duplicate, log_fields })
    }

    /// Counts an inbound request that was answered. It is not counted before, because its write runs at the same time
    /// and has usually ended by now.
    pub(crate) fn record_answered(
        &self,
        kind: InboundKind,
        received_at: Instant,
        pending_write: &PendingWrite,
        log_fields: &mut AccessLogFields,
    ) {
        let outcome = pending_write.outcome();
        log_fields.outcome = outcome.as_str();
        let kind = match kind {
            InboundKind::Call => EventKind::CallInbound,
            InboundKind::Chat => EventKind::ChatInbound,
        };
        self.counters.count_event(outcome, kind, log_fields.size_bytes, received_at.elapsed());
    }

    async fn append(&self, event: NewEvent) -> Result<AppendOutcome, ApiError> {
        let event_id = event.id;
        let appended = match tokio::time::timeout(COMMIT_TIMEOUT, self.journal.append(event)).await {
            Ok(appended) => appended,
            // The write stays in the queue and may still be committed. That is safe: when Retell sends the event
            // again, it is a duplicate.
            Err(_) => {
                let timeout_ms = COMMIT_TIMEOUT.as_millis();
                tracing::warn!(%event_id, timeout_ms, status = 503, "webhook commit timed out");
                Err(StoreError::unavailable("the commit took too long"))
            }
        };
        appended.map_err(|error| {
            // The store logs once that it is unavailable; one line per request would fill the log.
            if !error.is_retryable() {
                tracing::error!(%event_id, %error, status = 503, "webhook not stored");
            }
            ApiError::Unavailable
        })
    }

    fn new_event(&self, company_id: CompanyId, raw: RawEvent, head: Option<EventIdentifiers>) -> NewEvent {
        let dedupe_discriminator = dedupe::dedupe_discriminator(raw.signature.as_deref(), head.as_ref());
        let revisable = head.as_ref().is_some_and(dedupe::is_revisable);
        let head = head.unwrap_or_default();
        // Every text comes from the sender and is bounded for its column. The body itself is stored unchanged.
        NewEvent {
            kind: sanitize_text(head.event_name),
            call_id: sanitize_text(head.call_id.or(head.chat_id)),
            agent_id: sanitize_text(head.agent_id),
            dedupe_discriminator,
            revisable,
            source: raw.client_ip.map(|client_ip| client_ip.to_string()),
            content_type: sanitize_text(raw.content_type),
            query: sanitize_text(raw.query),
            signature: sanitize_text(raw.signature),
            key_fingerprint: raw.key_fingerprint.map(|fingerprint| fingerprint.to_string()),
            ..NewEvent::new(self.event_ids.next_id(raw.received_at_ms), company_id, raw.received_at_ms, raw.body)
        }
    }
}

fn inbound_kind(kind: EventKind) -> Option<InboundKind> {
    match kind {
        EventKind::CallInbound => Some(InboundKind::Call),
        EventKind::ChatInbound => Some(InboundKind::Chat),
        _ => None,
    }
}

/// The part of an event that the alarms for silence and for a wrong clock need. Taken before the event moves into the
/// store.
struct ActivitySample {
    company_id: CompanyId,
    agent_id: Option<String>,
    received_at_ms: i64,
    signed_at_ms: Option<i64>,
}

impl ActivitySample {
    fn from_event(event: &NewEvent) -> Self {
        // A signature that was not verified says nothing about the clock.
        let signature = event.signature.as_ref().filter(|_| event.key_fingerprint.is_some());
        let signature = signature.and_then(|text| text.parse::<Signature>().ok());
        Self {
            company_id: event.company_id,
            agent_id: event.agent_id.clone(),
            received_at_ms: event.received_at_ms,
            signed_at_ms: signature.map(|signature| signature.timestamp_ms()),
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

fn intake_outcome(appended: &AppendOutcome) -> IntakeOutcome {
    match appended {
        AppendOutcome::Duplicate { .. } => IntakeOutcome::Duplicate,
        // Before `revision`, because `unparsed` is what an operator has to look at.
        AppendOutcome::Stored { unparsed: true, .. } => IntakeOutcome::Unparsed,
        AppendOutcome::Stored { revision: true, .. } => IntakeOutcome::Revision,
        AppendOutcome::Stored { .. } => IntakeOutcome::Stored,
    }
}

/// Warns about an agent that is not in the company's `agents`. The event is stored all the same: it was signed with the
/// company's key, so most likely a webhook URL was entered in the wrong dashboard, or the list is out of date.
fn warn_unknown_agent(company: &Company, event: &NewEvent) {
    let Some(agent) = &event.agent_id else { return };
    if !company.agent_ids.is_empty() && !company.agent_ids.contains(agent) {
        tracing::warn!(company = %company.slug, agent, event_id = %event.id, "webhook from unknown agent");
    }
}
