//! Exports stored events with their bodies.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::base::id::EventId;
use crate::operations::OperationError;
use crate::storage::{EventFilter, EventSummary, Journal, Position};
use crate::view::{ExportedEventView, ExportedHeadersView};

/// An export in progress, oldest events first. It is read in batches, so that an export of any size needs little memory
/// and holds no read transaction while its output is written.
pub(crate) struct EventExport {
    filter: EventFilter,
    position: Position,
    remaining: usize,
}

/// The next events of an export.
pub(crate) struct ExportBatch {
    pub events: Vec<ExportedEventView>,
    /// Events that are missing in the export.
    pub unreadable: Vec<UnreadableEvent>,
}

/// An event whose body cannot be read.
pub(crate) struct UnreadableEvent {
    pub id: EventId,
    pub reason: String,
}

impl EventExport {
    pub(crate) fn new(filter: EventFilter) -> Self {
        Self { remaining: filter.limit.unwrap_or(usize::MAX), filter, position: Position::START }
    }

    /// The next events, with about 2 MiB of bodies at most; `None` at the end.
    pub(crate) async fn next_batch(&mut self, store: &dyn Journal) -> Result<Option<ExportBatch>, OperationError> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let filter = EventFilter { limit: Some(self.remaining), ..self.filter.clone() };
        let stored = store.export_events(self.position, filter).await?;
        let Some(last) = stored.last() else { return Ok(None) };
        self.position = last.summary.position();
        self.remaining = self.remaining.saturating_sub(stored.len());
        let mut batch = ExportBatch { events: Vec::new(), unreadable: Vec::new() };
        for event in stored {
            match event.body {
                Ok(body) => batch.events.push(exported_event_view(event.summary, &body)),
                Err(error) => batch.unreadable.push(UnreadableEvent { id: event.summary.id, reason: error.reason }),
            }
        }
        Ok(Some(batch))
    }
}

fn exported_event_view(event: EventSummary, body: &[u8]) -> ExportedEventView {
    ExportedEventView {
        id: event.id.to_string(),
        company: event.company,
        event: event.kind,
        received_at_ms: event.received_at_ms,
        headers: ExportedHeadersView { content_type: event.content_type, signature: event.signature },
        body_base64: BASE64_STANDARD.encode(body),
    }
}
