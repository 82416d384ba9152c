use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::id::{CompanyId, EventId};

/// What a handler knows about the delivery in addition to the event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// Id of the event. It stays the same over retries and replays, so use it as idempotency key.
    pub event_id: EventId,
    /// Number of the company in the store.
    pub company_id: CompanyId,
    /// Slug of the company that received the event; `default` for the routes without a slug.
    pub company: String,
    /// When the event was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// Number of this attempt, starting at 1.
    pub attempt: u32,
    /// For a revision, the earlier event with the same name and call whose body this one replaces.
    pub revision_of: Option<EventId>,
    /// Whether an operator requested this delivery by a replay.
    pub replay: bool,
    /// End of the attempt's timeout, at which the handler's future is dropped.
    pub deadline: Instant,
    /// Cancelled when the attempt times out or the receiver stops. Pass it to work that the handler spawns.
    pub cancellation: CancellationToken,
}

impl Context {
    /// The context of a first attempt with a timeout of one minute.
    #[must_use]
    pub fn new(event_id: EventId, (company_id, company): (CompanyId, &str), received_at_ms: i64) -> Self {
        Self {
            event_id,
            company_id,
            company: company.to_owned(),
            received_at_ms,
            attempt: 1,
            revision_of: None,
            replay: false,
            deadline: Instant::now() + Duration::from_secs(60),
            cancellation: CancellationToken::new(),
        }
    }

    /// The time that is left until [`Context::deadline`].
    #[must_use]
    pub fn remaining_time(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
