//! The journal: [`Journal`] on the writer thread and the reader threads.

use async_trait::async_trait;

use crate::base::id::{CompanyId, EventId};
use crate::storage::Seq;
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::writer::append::{self, EventKeys};
use crate::storage::sqlite::writer::queue::WritePriority;
use crate::storage::sqlite::{SqliteStore, companies, events};
use crate::storage::{
    AppendOutcome, CompanyStore, EventFilter, EventSummary, Journal, NewEvent, Position, StoreError, StoredEvent,
    WakeUps,
};
use std::sync::Arc;

#[async_trait]
impl Journal for SqliteStore {
    async fn append(&self, event: NewEvent) -> Result<AppendOutcome, StoreError> {
        let writer = self.writer()?;
        // Hashed on the caller's task, so that the bodies of many requests are hashed in parallel and not by the
        // writer.
        let keys = EventKeys::from_event(&event, &writer.identity_key);
        let priority = if event.live { WritePriority::Live } else { WritePriority::Ingest };
        writer.write_with_priority(priority, move |state| append::append(state, &event, keys)).await
    }

    async fn list_events(&self, filter: EventFilter) -> Result<Vec<EventSummary>, StoreError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut query = self.readers.read(move |reader| events::query(reader, &filter)).await?;
        let mut events = Vec::new();
        loop {
            let step = move |reader: &ReaderContext| {
                let has_more = events::list_next(reader, &mut query, limit, &mut events)?;
                Ok((query, events, has_more))
            };
            let has_more;
            (query, events, has_more) = self.readers.read(step).await?;
            if !has_more {
                return Ok(events);
            }
        }
    }

    async fn get_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.readers.read(move |reader| events::get(reader, id)).await
    }

    async fn export_events(&self, after: Position, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let filter = Arc::new(filter);
        let mut after = after.seq();
        loop {
            let filter = Arc::clone(&filter);
            let (events, last) = self.readers.read(move |reader| events::export(reader, after, &filter)).await?;
            match last {
                Some(last) if events.is_empty() => after = last,
                _ => return Ok(events),
            }
        }
    }

    async fn position_before(&self, ms: i64) -> Result<Position, StoreError> {
        self.readers.read(move |reader| Ok(Position::after(Seq(events::seq_before(&reader.conn, ms)?)))).await
    }

    fn appended_count(&self) -> u64 {
        self.changes.borrow().appended
    }

    fn subscribe(&self) -> WakeUps {
        WakeUps::new(&self.changes)
    }

    async fn last_position(&self) -> Result<Position, StoreError> {
        self.readers.read(|reader| Ok(Position::after(Seq(events::last_seq(&reader.conn)?)))).await
    }
}

#[async_trait]
impl CompanyStore for SqliteStore {
    async fn get_or_create_company_ids(&self, slugs: Vec<String>) -> Result<Vec<CompanyId>, StoreError> {
        self.writer()?.write(move |state| companies::get_or_create_ids(&state.conn, &slugs)).await
    }

    async fn find_company_id(&self, slug: &str) -> Result<Option<CompanyId>, StoreError> {
        let slug = slug.to_owned();
        self.readers.read(move |reader| Ok(companies::find_id(&reader.conn, &slug)?)).await
    }

    async fn list_companies(&self) -> Result<Vec<(String, CompanyId)>, StoreError> {
        self.readers.read(|reader| Ok(companies::list(&reader.conn)?)).await
    }
}
