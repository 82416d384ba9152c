use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::id::EventId;

/// What a handler is told besides the event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The same over retries and replays: the idempotency key.
    pub event_id: EventId,
    /// The company, as the store numbers it.
    pub company_id: i64,
    /// The company's slug.
    pub company: String,
    /// When the event was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The earlier event of the same name and call whose body this one replaces.
    pub revision_of: Option<EventId>,
    /// Somebody asked for the event to be delivered once more.
    pub replay: bool,
    /// When the attempt is given up: the handler's future is dropped then.
    pub deadline: Instant,
    /// Cancelled when the attempt is given up or the receiver stops: for work that a handler has spawned elsewhere.
    pub cancellation: CancellationToken,
}

impl Context {
    /// The context of a first attempt that may take a minute.
    #[must_use]
    pub fn new(event_id: EventId, (company_id, company): (i64, &str), received_at_ms: i64) -> Self {
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

    /// How long the attempt may still take.
    #[must_use]
    pub fn remaining_time(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
