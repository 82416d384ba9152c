//! Decides which queued writes share the next transaction: live requests first, then events, then background work.

use std::collections::VecDeque;

// The writer syncs once per transaction, so these bounds trade latency (how long the first write of a transaction
// waits for its commit) against throughput (how many writes share one fsync). `benches/load` measures both.

/// Events in one transaction. Bounds how long the last event of a burst waits for its commit.
const MAX_EVENTS: usize = 512;
/// Events that still join a transaction after a live request has joined it.
const MAX_EVENTS_AFTER_LIVE: usize = 64;
/// Rows of background work in a transaction that also holds events or live requests. What a store batch of dispatch
/// settles, plans and claims fits (64 rows each); it renews leases in an earlier transaction.
const MAX_BACKGROUND_ROWS_SHARED: usize = 192;
/// Rows of background work in a transaction that no sender and no caller waits for.
const MAX_BACKGROUND_ROWS_ALONE: usize = 1_024;

/// Who waits for a write, and therefore how early it runs.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage::sqlite) enum WritePriority {
    /// A caller on a live call.
    Live,
    /// The sender of an event, for its 2xx.
    Ingest,
    /// Background work, with the approximate number of rows it changes.
    Background(usize),
    /// Background work that no one waits for; it is put off a little, to share the transaction of an event.
    Deferrable(usize),
}

/// A write with its priority, as it travels through the channel to the writer thread.
pub(in crate::storage::sqlite) struct QueuedWrite<J> {
    pub(in crate::storage::sqlite) priority: WritePriority,
    pub(in crate::storage::sqlite) job: J,
}

/// Writes that the writer thread has received and not run yet, and the budget of the current transaction.
pub(in crate::storage::sqlite) struct WriteQueue<J> {
    live: VecDeque<J>,
    ingest: VecDeque<J>,
    background: VecDeque<(usize, J)>,
    /// Events that may still join the current transaction.
    ingest_left: usize,
    /// Rows of background work that may still join the current transaction.
    background_rows_left: usize,
    /// Whether the current transaction holds background work.
    has_background: bool,
    /// Whether the previous transaction left background work waiting without running any of it.
    background_skipped: bool,
}

impl<J> Default for WriteQueue<J> {
    fn default() -> Self {
        Self {
            live: VecDeque::new(),
            ingest: VecDeque::new(),
            background: VecDeque::new(),
            ingest_left: 0,
            background_rows_left: 0,
            // Before the first transaction nothing has been skipped, see `begin_transaction`.
            has_background: true,
            background_skipped: false,
        }
    }
}

impl<J> WriteQueue<J> {
    pub(in crate::storage::sqlite) fn push(&mut self, write: QueuedWrite<J>) {
        match write.priority {
            WritePriority::Live => self.live.push_back(write.job),
            WritePriority::Ingest => self.ingest.push_back(write.job),
            WritePriority::Background(rows) | WritePriority::Deferrable(rows) => {
                self.background.push_back((rows, write.job));
            }
        }
    }

    pub(in crate::storage::sqlite) fn len(&self) -> usize {
        self.live.len() + self.ingest.len() + self.background.len()
    }

    /// Sets the budget of a new transaction. Events that arrive later wait for the next one.
    pub(in crate::storage::sqlite) fn begin_transaction(&mut self) {
        self.background_skipped = !self.has_background && !self.background.is_empty();
        self.has_background = false;
        // Only the events that wait now: under constant load a budget that grew with arrivals would keep the
        // transaction open, and the first sender would wait for its commit without limit.
        self.ingest_left = self.ingest.len().min(MAX_EVENTS);
        // A large background transaction is allowed only while no one waits: an event that arrives during it has to
        // wait for its commit before the next transaction can begin.
        self.background_rows_left = if self.ingest_left == 0 && self.live.is_empty() {
            MAX_BACKGROUND_ROWS_ALONE
        } else {
            MAX_BACKGROUND_ROWS_SHARED
        };
    }

    /// The next write of this transaction, or `None` when it is time to commit. A live request joins at any point and
    /// shrinks the budget for everything else.
    pub(in crate::storage::sqlite) fn pop(&mut self) -> Option<J> {
        if let Some(job) = self.live.pop_front() {
            // The commit that the caller waits for should come soon, but events that wait already still share it: to
            // commit at once after each live request would give up group commit while calls are in progress.
            self.ingest_left = self.ingest_left.min(MAX_EVENTS_AFTER_LIVE);
            // No more background work in this transaction, except when the previous one ran none either. Then one job
            // may join (a budget of 1 admits one of any size), so constant live traffic cannot starve dispatch.
            self.background_rows_left = usize::from(self.background_skipped && !self.has_background);
            return Some(job);
        }
        if self.ingest_left > 0 {
            self.ingest_left -= 1;
            return self.ingest.pop_front();
        }
        // Background work comes last, so a transaction that fills up with it has run every event of its budget before.
        let (rows, _) = self.background.front()?;
        // The first job joins regardless of its size: a job larger than the budget would otherwise never run.
        if self.background_rows_left == 0 || (self.has_background && *rows > self.background_rows_left) {
            return None;
        }
        // A job that reports 0 rows still costs something; counting it as 1 bounds the number of jobs.
        self.background_rows_left = self.background_rows_left.saturating_sub((*rows).max(1));
        self.has_background = true;
        self.background.pop_front().map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(queue: &mut WriteQueue<String>, priority: WritePriority, name: &str) {
        queue.push(QueuedWrite { priority, job: name.to_owned() });
    }

    fn queue_of(events: usize, background_rows: &[usize]) -> WriteQueue<String> {
        let mut queue = WriteQueue::default();
        for number in 0..events {
            add(&mut queue, WritePriority::Ingest, &format!("event {number}"));
        }
        for rows in background_rows {
            add(&mut queue, WritePriority::Background(*rows), &format!("{rows} rows"));
        }
        queue
    }

    fn transaction(queue: &mut WriteQueue<String>) -> Vec<String> {
        queue.begin_transaction();
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn events_share_a_transaction_with_little_background_work() {
        let mut queue = queue_of(2, &[512, 100, 92, 1]);
        assert_eq!(transaction(&mut queue), ["event 0", "event 1", "512 rows"]);
        add(&mut queue, WritePriority::Ingest, "event 2");
        assert_eq!(transaction(&mut queue), ["event 2", "100 rows", "92 rows"]);
        assert_eq!(transaction(&mut queue), ["1 rows"]);
        assert_eq!(queue.len(), 0);
        assert!(transaction(&mut queue).is_empty());
    }

    #[test]
    fn a_burst_is_committed_in_parts_and_later_events_wait() {
        let mut queue = queue_of(MAX_EVENTS + 1, &[]);
        queue.begin_transaction();
        assert_eq!(queue.pop().as_deref(), Some("event 0"));
        add(&mut queue, WritePriority::Ingest, "later");
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), MAX_EVENTS - 1);
        assert_eq!(transaction(&mut queue), [format!("event {MAX_EVENTS}"), "later".to_owned()]);
    }

    #[test]
    fn background_work_alone_shares_a_larger_transaction() {
        assert_eq!(transaction(&mut queue_of(0, &[512, 500, 512])), ["512 rows", "500 rows"]);
        assert_eq!(transaction(&mut queue_of(0, &[5_000, 1])), ["5000 rows"]);
    }

    #[test]
    fn a_live_request_joins_the_open_transaction_and_shortens_it() {
        let mut queue = queue_of(200, &[10]);
        queue.begin_transaction();
        assert_eq!(queue.pop().as_deref(), Some("event 0"));
        add(&mut queue, WritePriority::Live, "caller");
        assert_eq!(queue.pop().as_deref(), Some("caller"));
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), MAX_EVENTS_AFTER_LIVE);
        assert_eq!(queue.len(), 200 - 1 - MAX_EVENTS_AFTER_LIVE + 1);

        let mut queue = queue_of(0, &[10, 20, 30]);
        queue.begin_transaction();
        assert_eq!(queue.pop().as_deref(), Some("10 rows"));
        add(&mut queue, WritePriority::Live, "caller");
        assert_eq!(queue.pop().as_deref(), Some("caller"));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn constant_live_requests_starve_no_other_work() {
        let mut queue = queue_of(1_000, &[300; 10]);
        let mut transactions = 0;
        while queue.len() > 0 {
            add(&mut queue, WritePriority::Live, "caller");
            assert!(transaction(&mut queue).contains(&"caller".to_owned()));
            transactions += 1;
        }
        assert_eq!(transactions, 20, "ten background jobs, one in every other transaction; events finish earlier");
    }
}
