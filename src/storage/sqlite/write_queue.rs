//! Whose turn it is: somebody on the line goes first, then who sends events, and the rest has time.

use std::collections::VecDeque;

/// Most events in one transaction: bounds how long the last one of a burst waits for its commit.
const MAX_EVENTS: usize = 512;
/// Most that are still taken into one once somebody on the line waits for it.
const MAX_EVENTS_AFTER_LIVE: usize = 64;
/// Rows of work that has time, in a transaction that somebody waits for (a round of dispatch has three parts of 64), and in
/// one of its own.
const MAX_BACKGROUND_ROWS_SHARED: usize = 192;
const MAX_BACKGROUND_ROWS_ALONE: usize = 1_024;

/// Who waits for a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum WritePriority {
    /// Somebody on the line.
    Live,
    /// The sender of an event, for its 2xx.
    Ingest,
    /// Nobody. It changes about so many rows.
    Background(usize),
}

/// A request, and who waits for it.
pub(super) struct QueuedWrite<J> {
    pub(super) priority: WritePriority,
    pub(super) job: J,
}

/// What waits for the writer.
pub(super) struct WriteQueue<J> {
    live: VecDeque<J>,
    ingest: VecDeque<J>,
    background: VecDeque<(usize, J)>,
    /// What this transaction has room for: events, and rows of the rest.
    ingest_left: usize,
    background_rows_left: usize,
    /// This transaction has something of the rest in it.
    has_background: bool,
    /// The one before had no room for it.
    background_skipped: bool,
}

impl<J> Default for WriteQueue<J> {
    fn default() -> Self {
        let (callers, senders, rest) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self {
            live: callers,
            ingest: senders,
            background: rest,
            ingest_left: 0,
            background_rows_left: 0,
            has_background: true,
            background_skipped: false,
        }
    }
}

impl<J> WriteQueue<J> {
    pub(super) fn push(&mut self, asked: QueuedWrite<J>) {
        match asked.priority {
            WritePriority::Live => self.live.push_back(asked.job),
            WritePriority::Ingest => self.ingest.push_back(asked.job),
            WritePriority::Background(rows) => self.background.push_back((rows, asked.job)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len() + self.ingest.len() + self.background.len()
    }

    /// A transaction begins. Events that come from here on wait for the next one, so that this one ends.
    pub(super) fn begin_transaction(&mut self) {
        self.background_skipped = !self.has_background && !self.background.is_empty();
        self.has_background = false;
        self.ingest_left = self.ingest.len().min(MAX_EVENTS);
        self.background_rows_left = if self.ingest_left == 0 && self.live.is_empty() {
            MAX_BACKGROUND_ROWS_ALONE
        } else {
            MAX_BACKGROUND_ROWS_SHARED
        };
    }

    /// What is next in this transaction; `None`: commit it. Somebody on the line gets in at any time, and little is begun
    /// after that.
    pub(super) fn pop(&mut self) -> Option<J> {
        if let Some(job) = self.live.pop_front() {
            self.ingest_left = self.ingest_left.min(MAX_EVENTS_AFTER_LIVE);
            // However many callers there are, every other transaction takes something of the rest.
            self.background_rows_left = usize::from(self.background_skipped && !self.has_background);
            return Some(job);
        }
        if self.ingest_left > 0 {
            self.ingest_left -= 1;
            return self.ingest.pop_front();
        }
        let (rows, _) = self.background.front()?;
        // One is taken however large it is.
        if self.background_rows_left == 0 || (self.has_background && *rows > self.background_rows_left) {
            return None;
        }
        self.background_rows_left = self.background_rows_left.saturating_sub((*rows).max(1));
        self.has_background = true;
        self.background.pop_front().map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(turns: &mut WriteQueue<String>, waits: WritePriority, name: &str) {
        turns.push(QueuedWrite { priority: waits, job: name.to_owned() });
    }

    fn turns(events: usize, rest: &[usize]) -> WriteQueue<String> {
        let mut turns = WriteQueue::default();
        for number in 0..events {
            add(&mut turns, WritePriority::Ingest, &format!("event {number}"));
        }
        for rows in rest {
            add(&mut turns, WritePriority::Background(*rows), &format!("{rows} rows"));
        }
        turns
    }

    fn transaction(turns: &mut WriteQueue<String>) -> Vec<String> {
        turns.begin_transaction();
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn events_share_a_transaction_with_little_else() {
        let mut turns = turns(2, &[512, 100, 92, 1]);
        assert_eq!(transaction(&mut turns), ["event 0", "event 1", "512 rows"]);
        add(&mut turns, WritePriority::Ingest, "event 2");
        assert_eq!(transaction(&mut turns), ["event 2", "100 rows", "92 rows"]);
        assert_eq!(transaction(&mut turns), ["1 rows"]);
        assert_eq!(turns.len(), 0);
        assert!(transaction(&mut turns).is_empty());
    }

    #[test]
    fn a_burst_is_committed_in_parts_and_what_comes_meanwhile_waits() {
        let mut turns = turns(MAX_EVENTS + 1, &[]);
        turns.begin_transaction();
        assert_eq!(turns.pop().as_deref(), Some("event 0"));
        add(&mut turns, WritePriority::Ingest, "later");
        assert_eq!(std::iter::from_fn(|| turns.pop()).count(), MAX_EVENTS - 1);
        assert_eq!(transaction(&mut turns), [format!("event {MAX_EVENTS}"), "later".to_owned()]);
    }

    #[test]
    fn alone_the_rest_goes_together() {
        assert_eq!(transaction(&mut turns(0, &[512, 500, 512])), ["512 rows", "500 rows"]);
        assert_eq!(transaction(&mut turns(0, &[5_000, 1])), ["5000 rows"]);
    }

    #[test]
    fn somebody_on_the_line_gets_into_the_transaction_under_way_and_it_ends_soon() {
        let mut turns = turns(200, &[10]);
        turns.begin_transaction();
        assert_eq!(turns.pop().as_deref(), Some("event 0"));
        add(&mut turns, WritePriority::Live, "caller");
        assert_eq!(turns.pop().as_deref(), Some("caller"));
        assert_eq!(std::iter::from_fn(|| turns.pop()).count(), MAX_EVENTS_AFTER_LIVE);
        assert_eq!(turns.len(), 200 - 1 - MAX_EVENTS_AFTER_LIVE + 1);

        let mut turns = self::turns(0, &[10, 20, 30]);
        turns.begin_transaction();
        assert_eq!(turns.pop().as_deref(), Some("10 rows"));
        add(&mut turns, WritePriority::Live, "caller");
        assert_eq!((turns.pop().as_deref(), turns.pop()), (Some("caller"), None));
    }

    #[test]
    fn callers_without_end_stop_nobody() {
        let mut turns = turns(1_000, &[300; 10]);
        let mut transactions = 0;
        while turns.len() > 0 {
            add(&mut turns, WritePriority::Live, "caller");
            assert!(transaction(&mut turns).contains(&"caller".to_owned()));
            transactions += 1;
        }
        assert_eq!(transactions, 20, "rest goes into every other one, ten times; events long before");
    }
}
