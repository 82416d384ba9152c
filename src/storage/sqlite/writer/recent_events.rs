//! The events of the latest small transactions. They are kept for a moment, so that handlers take them from memory
//! instead of waiting for a reader thread.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use crate::base::id::CompanyId;
use crate::storage::{EventState, EventSummary, NewEvent, PlanEvents, Seq};

/// How long events are kept. They hold personal data, which may be erased meanwhile.
const MAX_AGE: Duration = Duration::from_secs(1);
const MAX_EVENTS: usize = 128;
/// Events of one transaction that are kept. With more of them handlers fall behind, and read many events at one time.
const MAX_PER_TRANSACTION: usize = 8;
/// Larger bodies are read from the database. Smaller ones are copied: a body can hold on to a larger buffer.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// The kept events, shared between the writer and those who read them.
#[derive(Default)]
pub(in crate::storage::sqlite) struct RecentEvents(Mutex<KeptEvents>);

/// All events after `from` up to `through`; none is known while `through` is less.
struct KeptEvents {
    events: VecDeque<KeptEvent>,
    from: i64,
    through: i64,
    /// The number of changes by other connections before these events.
    external: u64,
}

struct KeptEvent {
    summary: EventSummary,
    body: Bytes,
    kept_at: Instant,
}

impl Default for KeptEvents {
    fn default() -> Self {
        Self { events: VecDeque::new(), from: 0, through: -1, external: 0 }
    }
}

impl RecentEvents {
    /// Up to `limit` events after a position; `None` when they have to be read from the database. `external` is the number
    /// of changes by other connections: one of them may have appended an event.
    pub(in crate::storage::sqlite) fn list_after(
        &self,
        after: i64,
        limit: usize,
        bodies: bool,
        external: u64,
    ) -> Option<PlanEvents> {
        let mut kept = self.lock();
        kept.expire();
        if kept.external != external || !(kept.from..=kept.through).contains(&after) {
            return None;
        }
        let events = kept.events.iter().filter(|kept| kept.summary.seq.0 > after).take(limit);
        Some(events.map(|kept| (kept.summary.clone(), bodies.then(|| kept.body.clone()))).collect())
    }

    /// Drops events that are too old.
    pub(in crate::storage::sqlite) fn expire(&self) {
        self.lock().expire();
    }

    fn lock(&self) -> MutexGuard<'_, KeptEvents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptEvents {
    fn expire(&mut self) {
        while self.events.front().is_some_and(|oldest| oldest.kept_at.elapsed() >= MAX_AGE) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.from = oldest.summary.seq.0;
        }
    }

    fn restart_after(&mut self, seq: i64) {
        self.events.clear();
        (self.from, self.through) = (seq, seq);
    }
}

/// The events that the current transaction appends, on the writer's side.
#[derive(Default)]
pub(in crate::storage::sqlite) struct StagedEvents {
    recent: Arc<RecentEvents>,
    events: Vec<KeptEvent>,
    /// The last appended event, kept or not.
    last: Option<Seq>,
    /// Slugs of companies by id; a company keeps its slug.
    slugs: HashMap<CompanyId, String>,
}

impl StagedEvents {
    pub(in crate::storage::sqlite) fn recent(&self) -> Arc<RecentEvents> {
        Arc::clone(&self.recent)
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.last = None;
    }

    /// Adds an event that is stored as it was received and is not a revision.
    pub(super) fn push(&mut self, conn: &Connection, seq: Seq, event: &NewEvent) -> rusqlite::Result<()> {
        self.last = Some(seq);
        if self.events.len() >= MAX_PER_TRANSACTION || event.body.len() > MAX_BODY_BYTES {
            return Ok(());
        }
        let Some(company) = self.slug(conn, event.company_id)? else { return Ok(()) };
        let body = Bytes::copy_from_slice(&event.body);
        self.events.push(KeptEvent { summary: summarize(seq, event, company), body, kept_at: Instant::now() });
        Ok(())
    }

    /// Adds an event that has to be read from the database.
    pub(super) fn push_unkept(&mut self, seq: Seq) {
        self.last = Some(seq);
    }

    /// Passes the events on after the commit. `external` is the number of changes by other connections so far.
    pub(super) fn commit(&mut self, external: u64) {
        let Some(last) = self.last.take() else { return };
        let mut kept = self.recent.lock();
        if kept.external != external {
            *kept = KeptEvents { external, ..KeptEvents::default() };
        }
        for event in self.events.drain(..) {
            let seq = event.summary.seq.0;
            if seq != kept.through + 1 {
                kept.restart_after(seq - 1);
            }
            kept.through = seq;
            kept.events.push_back(event);
            if kept.events.len() > MAX_EVENTS {
                kept.drop_oldest();
            }
        }
        if kept.through != last.0 {
            kept.restart_after(last.0);
        }
    }

    fn slug(&mut self, conn: &Connection, company: CompanyId) -> rusqlite::Result<Option<String>> {
        if let Some(slug) = self.slugs.get(&company) {
            return Ok(Some(slug.clone()));
        }
        let mut read = conn.prepare_cached("SELECT slug FROM companies WHERE id = ?1")?;
        let slug: Option<String> = read.query_row([company], |row| row.get(0)).optional()?;
        if let Some(slug) = &slug {
            self.slugs.insert(company, slug.clone());
        }
        Ok(slug)
    }
}

/// What a read of the stored event would return.
fn summarize(seq: Seq, event: &NewEvent, company: String) -> EventSummary {
    EventSummary {
        seq,
        id: event.id,
        company_id: event.company_id,
        company,
        kind: event.kind.clone(),
        call_id: event.call_id.clone(),
        agent_id: event.agent_id.clone(),
        received_at_ms: event.received_at_ms,
        source: event.source.clone(),
        content_type: event.content_type.clone(),
        query: event.query.clone(),
        signature: event.signature.clone(),
        key_fingerprint: event.key_fingerprint.clone(),
        origin: event.origin,
        state: if event.unparsed { EventState::Unparsed } else { EventState::Stored },
        revision_of: None,
        duplicate_count: 0,
        size_bytes: event.body.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::EventIdGenerator;
    use crate::storage::DEFAULT_COMPANY_ID;

    struct Fixture {
        conn: Connection,
        recent: Arc<RecentEvents>,
        staged: StagedEvents,
    }

    impl Fixture {
        fn new() -> Self {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch("CREATE TABLE companies (id INTEGER PRIMARY KEY, slug TEXT)").unwrap();
            conn.execute("INSERT INTO companies VALUES (?1, 'acme')", [DEFAULT_COMPANY_ID]).unwrap();
            let staged = StagedEvents::default();
            Self { conn, recent: staged.recent(), staged }
        }

        fn commit(&mut self, seqs: std::ops::RangeInclusive<i64>, external: u64) {
            for seq in seqs {
                let id = EventIdGenerator::default().next_id(1);
                let event = NewEvent::new(id, DEFAULT_COMPANY_ID, 1, format!("body {seq}"));
                self.staged.push(&self.conn, Seq(seq), &event).unwrap();
            }
            self.staged.commit(external);
        }

        fn list_after(&self, after: i64, external: u64) -> Option<Vec<i64>> {
            let events = self.recent.list_after(after, 100, true, external)?;
            Some(events.iter().map(|(event, _)| event.seq.0).collect())
        }
    }

    #[test]
    fn only_events_after_a_known_position_are_listed() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.list_after(0, 0), None, "the database may have events");
        fixture.commit(5..=6, 0);
        fixture.commit(7..=7, 0);
        assert_eq!(fixture.list_after(3, 0), None);
        assert_eq!(fixture.list_after(4, 0), Some(vec![5, 6, 7]));
        assert_eq!(fixture.list_after(6, 0), Some(vec![7]));
        assert_eq!(fixture.list_after(7, 0), Some(vec![]));
        assert_eq!(fixture.list_after(8, 0), None);
        let (event, body) = &fixture.recent.list_after(4, 1, true, 0).unwrap()[0];
        assert_eq!((event.seq.0, event.company.as_str(), body.as_deref()), (5, "acme", Some(&b"body 5"[..])));
        assert_eq!(fixture.recent.list_after(4, 1, false, 0).unwrap()[0].1, None);
    }

    #[test]
    fn nothing_is_listed_beyond_events_of_others_or_events_that_are_not_kept() {
        let mut fixture = Fixture::new();
        fixture.commit(1..=2, 0);
        assert_eq!(fixture.list_after(2, 1), None, "another connection has committed");
        fixture.commit(3..=3, 1);
        assert_eq!((fixture.list_after(1, 1), fixture.list_after(2, 1)), (None, Some(vec![3])));
        // Event 4 is of another connection, whose commit is not noticed yet.
        fixture.commit(5..=5, 1);
        assert_eq!((fixture.list_after(3, 1), fixture.list_after(4, 1)), (None, Some(vec![5])));
        fixture.staged.push_unkept(Seq(6));
        fixture.commit(7..=7, 1);
        assert_eq!((fixture.list_after(5, 1), fixture.list_after(6, 1)), (None, Some(vec![7])));
        fixture.staged.push_unkept(Seq(8));
        fixture.staged.commit(1);
        assert_eq!((fixture.list_after(7, 1), fixture.list_after(8, 1)), (None, Some(vec![])));
        // Rolled back.
        fixture.staged.push_unkept(Seq(9));
        fixture.staged.clear();
        fixture.staged.commit(1);
        assert_eq!(fixture.list_after(8, 1), Some(vec![]));
    }

    #[test]
    fn large_transactions_large_bodies_and_old_events_are_not_kept() {
        let mut fixture = Fixture::new();
        fixture.commit(1..=9, 0);
        assert_eq!((fixture.list_after(0, 0), fixture.list_after(9, 0)), (None, Some(vec![])));
        let id = EventIdGenerator::default().next_id(1);
        let large = NewEvent::new(id, DEFAULT_COMPANY_ID, 1, vec![b'x'; MAX_BODY_BYTES + 1]);
        fixture.staged.push(&fixture.conn, Seq(10), &large).unwrap();
        fixture.staged.commit(0);
        assert_eq!(fixture.list_after(9, 0), None);
        for seq in 11..=300 {
            fixture.commit(seq..=seq, 0);
        }
        assert_eq!(fixture.list_after(300 - 129, 0), None);
        let kept = fixture.recent.list_after(300 - 128, 1_000, true, 0).unwrap();
        assert_eq!((kept.len(), kept[0].0.seq.0), (128, 173));
        fixture.recent.lock().events.iter_mut().for_each(|event| event.kept_at -= MAX_AGE);
        fixture.recent.expire();
        assert_eq!(fixture.recent.lock().events.len(), 0);
        assert_eq!(fixture.list_after(300, 0), Some(vec![]));
    }
}
