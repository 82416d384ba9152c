//! Follows the journal: returns events in the order of commit, each one once, as they are stored. It reads the store,
//! not the receiver, so it continues while the receiver restarts.

use std::time::Duration;

use super::event_view;
use super::followed_store::FollowedStore;
use crate::base::id::EventId;
use crate::config::Settings;
use crate::event::Event;
use crate::operations::{ItemKind, OperationError};
use crate::storage::{EventFilter, EventSummary, Journal, Position, StoreError, StoreErrorKind, StoredEvent};
use crate::view::TailedEventView;

pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Events read per query. The store limits the total size of their bodies as well.
const READ_BATCH_SIZE: usize = 256;

/// Which events are returned; all set conditions must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct TailFilter {
    /// Event kinds; empty for all.
    pub kinds: Vec<String>,
    /// Only events of this call or chat.
    pub call_id: Option<String>,
    /// The slug of the only company.
    pub company: Option<String>,
    pub unparsed_only: bool,
}

/// Which stored events are returned before new ones.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TailStart {
    /// The latest matching events, at most this number.
    Latest(usize),
    /// Events received since this time, in milliseconds since the Unix epoch.
    Since(i64),
    /// Events that were stored after this one. [`EventTail::beginning`] stands for all events.
    After(EventId),
}

/// What [`EventTail::next`] returns.
pub(crate) enum TailOutput {
    Events(TailBatch),
    Notice(TailNotice),
}

/// Matching events, oldest first; may be empty.
pub(crate) struct TailBatch {
    pub events: Vec<TailedEventView>,
    /// The event after which to start to continue after this batch.
    pub resume_after: EventId,
}

/// A change in whether the store can be read. Nothing is missed meanwhile.
pub(crate) enum TailNotice {
    /// The store does not exist yet at this place; waiting for a receiver to create it.
    WaitingForStore(String),
    /// The store cannot be read; it is tried again. Reported once per series of failures.
    ReadFailed(StoreError),
    /// The store can be read again.
    ReadRecovered,
}

/// A position in the journal that follows the store.
pub(crate) struct EventTail {
    source: FollowedStore,
    filter: TailFilter,
    start: TailStart,
    /// Whether there was a store when the tail was made; one that was made later has only new events.
    existed: bool,
    has_reported_missing_store: bool,
    position: Option<TailPosition>,
    last_read: LastRead,
}

/// The result of the latest read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastRead {
    /// There may be more to read right now.
    Incomplete,
    /// Everything was read, so that the next read has to wait.
    Complete,
    Failed,
}

#[derive(Clone, Copy)]
struct TailPosition {
    position: Position,
    resume_after: EventId,
}

impl EventTail {
    pub(crate) fn new(settings: &Settings, filter: TailFilter, start: TailStart) -> Self {
        let source = FollowedStore::new(settings);
        let existed = source.exists();
        Self {
            source,
            filter,
            start,
            existed,
            has_reported_missing_store: false,
            position: None,
            last_read: LastRead::Incomplete,
        }
    }

    /// The lowest possible id, which means: from the beginning.
    pub(crate) fn beginning() -> EventId {
        EventId::lower_bound_at(0)
    }

    /// Waits for the next events or notice. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The start is unknown, or the store cannot be opened. A store that cannot be read for a while is a notice.
    pub(crate) async fn next(&mut self) -> Result<TailOutput, OperationError> {
        loop {
            if !self.source.is_open() {
                if !self.has_reported_missing_store && !self.source.exists() {
                    self.has_reported_missing_store = true;
                    return Ok(TailOutput::Notice(TailNotice::WaitingForStore(self.source.location())));
                }
                self.source.wait_and_open().await?;
            }
            let store = self.source.store()?;
            let Some(position) = self.position else {
                let position = self.start_position(&*store).await?;
                self.position = Some(position);
                return Ok(TailOutput::Events(TailBatch { events: Vec::new(), resume_after: position.resume_after }));
            };
            if self.last_read != LastRead::Incomplete {
                tokio::time::sleep(POLL_INTERVAL).await;
                // A new store, such as after a restored backup, has its own positions.
                if self.source.was_replaced().await {
                    self.source.close();
                    self.has_reported_missing_store = false;
                    self.position = Some(TailPosition { position: Position::START, ..position });
                    continue;
                }
            }
            if let Some(output) = self.read_batch(&*store, position).await {
                return Ok(output);
            }
        }
    }

    /// Reads once. `None` when there is nothing to report.
    async fn read_batch(&mut self, store: &dyn Journal, position: TailPosition) -> Option<TailOutput> {
        let result = self.read_events(store, position).await;
        let last_read = match &result {
            Ok((_, Some(_))) => LastRead::Incomplete,
            Ok((_, None)) => LastRead::Complete,
            Err(_) => LastRead::Failed,
        };
        if matches!(&result, Err(error) if error.kind() == StoreErrorKind::Unusable) {
            // A receiver has to repair the store, which needs that it is not open here. It is opened again afterwards.
            self.source.close();
        }
        let previous = std::mem::replace(&mut self.last_read, last_read);
        match (result, previous) {
            (Err(_), LastRead::Failed) => None,
            (Err(error), _) => Some(TailOutput::Notice(TailNotice::ReadFailed(error))),
            // The position stays, so the events are returned by the next read.
            (Ok(_), LastRead::Failed) => Some(TailOutput::Notice(TailNotice::ReadRecovered)),
            (Ok((_, None)), _) => None,
            (Ok((events, Some(next))), _) => {
                self.position = Some(next);
                Some(TailOutput::Events(TailBatch { events, resume_after: next.resume_after }))
            }
        }
    }

    /// The next matching events and the position after them; no position when there is nothing new.
    async fn read_events(
        &self,
        store: &dyn Journal,
        position: TailPosition,
    ) -> Result<(Vec<TailedEventView>, Option<TailPosition>), StoreError> {
        let Some(newest) = newest_position(store).await?.filter(|newest| newest.position > position.position) else {
            return Ok((Vec::new(), None));
        };
        let filter = EventFilter { limit: Some(READ_BATCH_SIZE), ..self.filter.store_filter() };
        let stored = store.export_events(position.position, filter).await?;
        // Everything up to `newest` was committed before the query, so events that do not match can be skipped for
        // good. Without this, a filter that matches rarely would scan the same events again and again.
        let next = stored
            .last()
            .map_or(newest, |last| TailPosition { position: last.summary.position(), resume_after: last.summary.id });
        Ok((stored.iter().map(tailed_event_view).collect(), Some(next)))
    }

    async fn start_position(&self, store: &dyn Journal) -> Result<TailPosition, OperationError> {
        let beginning = TailPosition { position: Position::START, resume_after: Self::beginning() };
        if let TailStart::After(after) = self.start {
            return if after == Self::beginning() { Ok(beginning) } else { position_of(store, after).await };
        }
        // A store that did not exist at the start has only new events.
        if !self.existed {
            return Ok(beginning);
        }
        let position = match self.start {
            TailStart::Since(since_ms) => store.position_before(since_ms).await?,
            TailStart::Latest(count) => self.position_before_latest(store, count).await?,
            TailStart::After(_) => Position::START,
        };
        // If nothing follows, the tail resumes after the newest event that was stored at the start.
        let newest = newest_position(store).await?.filter(|newest| newest.position <= position);
        Ok(TailPosition { position, resume_after: newest.map_or(beginning.resume_after, |newest| newest.resume_after) })
    }

    /// The position before the latest `count` events that match.
    async fn position_before_latest(&self, store: &dyn Journal, count: usize) -> Result<Position, StoreError> {
        let newest = newest_position(store).await?.map_or(Position::START, |newest| newest.position);
        let filter = EventFilter { limit: Some(count), ..self.filter.store_filter() };
        let latest = store.list_events(filter).await?;
        Ok(latest.last().map_or(newest, EventSummary::position_before))
    }
}

impl TailFilter {
    fn store_filter(&self) -> EventFilter {
        EventFilter {
            kinds: self.kinds.clone(),
            call_id: self.call_id.clone(),
            company: self.company.clone(),
            unparsed_only: self.unparsed_only,
            ..EventFilter::default()
        }
    }
}

async fn position_of(store: &dyn Journal, after: EventId) -> Result<TailPosition, OperationError> {
    let event = store
        .get_event(after)
        .await?
        .ok_or_else(|| OperationError::not_found(ItemKind::Event, format!("the event {after} is not in the store")))?;
    Ok(TailPosition { position: event.summary.position(), resume_after: after })
}

async fn newest_position(store: &dyn Journal) -> Result<Option<TailPosition>, StoreError> {
    let latest = store.list_events(EventFilter { limit: Some(1), ..EventFilter::default() }).await?;
    Ok(latest.first().map(|event| TailPosition { position: event.position(), resume_after: event.id }))
}

fn tailed_event_view(stored: &StoredEvent) -> TailedEventView {
    let parsed = stored.body.as_ref().ok().and_then(|body| Event::parse(body).ok());
    let call = parsed.as_ref().and_then(Event::call);
    TailedEventView {
        event: event_view(&stored.summary),
        duration_ms: call.and_then(|call| call.duration_ms),
        disconnection_reason: call.and_then(|call| Some(call.disconnection_reason.as_ref()?.as_str().to_owned())),
    }
}
