//! Whose turn it is: somebody on the line goes first, then who sends events, and the rest has time.

use std::collections::VecDeque;

/// Most events in one transaction: bounds how long the last one of a burst waits for its commit.
const EVENTS: usize = 512;
/// Most that are still taken into one once somebody on the line waits for it.
const EVENTS_BESIDE: usize = 64;
/// Rows of work that has time, in a transaction that somebody waits for (a round of dispatch has three parts of 64), and in
/// one of its own.
const ROWS_BESIDE: usize = 192;
const ROWS_ALONE: usize = 1_024;

/// Who waits for a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waits {
    /// Somebody on the line.
    Caller,
    /// The sender of an event, for its 2xx.
    Sender,
    /// Nobody. It changes about so many rows.
    Nobody(usize),
}

/// A request, and who waits for it.
pub(super) struct Asked<J> {
    pub(super) waits: Waits,
    pub(super) job: J,
}

/// What waits for the writer.
pub(super) struct Turns<J> {
    callers: VecDeque<J>,
    senders: VecDeque<J>,
    rest: VecDeque<(usize, J)>,
    /// What this transaction has room for: events, and rows of the rest.
    events: usize,
    rows: usize,
    /// This transaction has something of the rest in it.
    has_rest: bool,
    /// The one before had no room for it.
    passed_over: bool,
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        let (callers, senders, rest) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { callers, senders, rest, events: 0, rows: 0, has_rest: true, passed_over: false }
    }
}

impl<J> Turns<J> {
    pub(super) fn add(&mut self, asked: Asked<J>) {
        match asked.waits {
            Waits::Caller => self.callers.push_back(asked.job),
            Waits::Sender => self.senders.push_back(asked.job),
            Waits::Nobody(rows) => self.rest.push_back((rows, asked.job)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.callers.len() + self.senders.len() + self.rest.len()
    }

    /// A transaction begins. Events that come from here on wait for the next one, so that this one ends.
    pub(super) fn begin(&mut self) {
        self.passed_over = !self.has_rest && !self.rest.is_empty();
        self.has_rest = false;
        self.events = self.senders.len().min(EVENTS);
        self.rows = if self.events == 0 && self.callers.is_empty() { ROWS_ALONE } else { ROWS_BESIDE };
    }

    /// What is next in this transaction; `None`: commit it. Somebody on the line gets in at any time, and little is begun
    /// after that.
    pub(super) fn next(&mut self) -> Option<J> {
        if let Some(job) = self.callers.pop_front() {
            self.events = self.events.min(EVENTS_BESIDE);
            // However many callers there are, every other transaction takes something of the rest.
            self.rows = usize::from(self.passed_over && !self.has_rest);
            return Some(job);
        }
        if self.events > 0 {
            self.events -= 1;
            return self.senders.pop_front();
        }
        let (rows, _) = self.rest.front()?;
        // One is taken however large it is.
        if self.rows == 0 || (self.has_rest && *rows > self.rows) {
            return None;
        }
        self.rows = self.rows.saturating_sub((*rows).max(1));
        self.has_rest = true;
        self.rest.pop_front().map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(turns: &mut Turns<String>, waits: Waits, name: &str) {
        turns.add(Asked { waits, job: name.to_owned() });
    }

    fn turns(events: usize, rest: &[usize]) -> Turns<String> {
        let mut turns = Turns::default();
        for number in 0..events {
            add(&mut turns, Waits::Sender, &format!("event {number}"));
        }
        for rows in rest {
            add(&mut turns, Waits::Nobody(*rows), &format!("{rows} rows"));
        }
        turns
    }

    fn transaction(turns: &mut Turns<String>) -> Vec<String> {
        turns.begin();
        std::iter::from_fn(|| turns.next()).collect()
    }

    #[test]
    fn events_share_a_transaction_with_little_else() {
        let mut turns = turns(2, &[512, 100, 92, 1]);
        assert_eq!(transaction(&mut turns), ["event 0", "event 1", "512 rows"]);
        add(&mut turns, Waits::Sender, "event 2");
        assert_eq!(transaction(&mut turns), ["event 2", "100 rows", "92 rows"]);
        assert_eq!(transaction(&mut turns), ["1 rows"]);
        assert_eq!(turns.len(), 0);
        assert!(transaction(&mut turns).is_empty());
    }

    #[test]
    fn a_burst_is_committed_in_parts_and_what_comes_meanwhile_waits() {
        let mut turns = turns(EVENTS + 1, &[]);
        turns.begin();
        assert_eq!(turns.next().as_deref(), Some("event 0"));
        add(&mut turns, Waits::Sender, "later");
        assert_eq!(std::iter::from_fn(|| turns.next()).count(), EVENTS - 1);
        assert_eq!(transaction(&mut turns), [format!("event {EVENTS}"), "later".to_owned()]);
    }

    #[test]
    fn alone_the_rest_goes_together() {
        assert_eq!(transaction(&mut turns(0, &[512, 500, 512])), ["512 rows", "500 rows"]);
        assert_eq!(transaction(&mut turns(0, &[5_000, 1])), ["5000 rows"]);
    }

    #[test]
    fn somebody_on_the_line_gets_into_the_transaction_under_way_and_it_ends_soon() {
        let mut turns = turns(200, &[10]);
        turns.begin();
        assert_eq!(turns.next().as_deref(), Some("event 0"));
        add(&mut turns, Waits::Caller, "caller");
        assert_eq!(turns.next().as_deref(), Some("caller"));
        assert_eq!(std::iter::from_fn(|| turns.next()).count(), EVENTS_BESIDE);
        assert_eq!(turns.len(), 200 - 1 - EVENTS_BESIDE + 1);

        let mut turns = self::turns(0, &[10, 20, 30]);
        turns.begin();
        assert_eq!(turns.next().as_deref(), Some("10 rows"));
        add(&mut turns, Waits::Caller, "caller");
        assert_eq!((turns.next().as_deref(), turns.next()), (Some("caller"), None));
    }

    #[test]
    fn callers_without_end_stop_nobody() {
        let mut turns = turns(1_000, &[300; 10]);
        let mut transactions = 0;
        while turns.len() > 0 {
            add(&mut turns, Waits::Caller, "caller");
            assert!(transaction(&mut turns).contains(&"caller".to_owned()));
            transactions += 1;
        }
        assert_eq!(transactions, 20, "rest goes into every other one, ten times; events long before");
    }
}
