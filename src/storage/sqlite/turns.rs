//! Whose turn it is: callers wait for what is urgent, the rest has time.

use std::collections::VecDeque;

/// Rows of work that has time, in a transaction that somebody waits for, and in one of its own.
const BESIDE: usize = 128;
const ALONE: usize = 1_024;

/// A request and its weight: `None` is urgent, else about how many rows it changes.
pub(super) struct Asked<J> {
    pub(super) rows: Option<usize>,
    pub(super) job: J,
}

/// What waits for the writer.
pub(super) struct Turns<J> {
    urgent: VecDeque<J>,
    rest: VecDeque<(usize, J)>,
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self { urgent: VecDeque::new(), rest: VecDeque::new() }
    }
}

impl<J> Turns<J> {
    pub(super) fn add(&mut self, asked: Asked<J>) {
        match asked.rows {
            None => self.urgent.push_back(asked.job),
            Some(rows) => self.rest.push_back((rows, asked.job)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.urgent.len() + self.rest.len()
    }

    /// What goes into the next transaction: at most `most` urgent requests, and of the rest what does not hold them up,
    /// but always one.
    pub(super) fn next(&mut self, most: usize) -> Vec<J> {
        let mut room = if self.urgent.is_empty() { ALONE } else { BESIDE };
        let mut batch: Vec<_> = self.urgent.drain(..self.urgent.len().min(most)).collect();
        while let Some((rows, job)) = self.rest.pop_front() {
            batch.push(job);
            room = room.saturating_sub(rows.max(1));
            if self.rest.front().is_none_or(|(next, _)| *next > room) {
                break;
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(urgent: usize, rest: &[usize]) -> Turns<String> {
        let mut turns = Turns::default();
        for number in 0..urgent {
            turns.add(Asked { rows: None, job: format!("urgent {number}") });
        }
        for rows in rest {
            turns.add(Asked { rows: Some(*rows), job: format!("{rows} rows") });
        }
        turns
    }

    #[test]
    fn urgent_requests_share_a_transaction_with_little_else() {
        let mut turns = turns(3, &[512, 100, 28, 1]);
        assert_eq!(turns.next(2), ["urgent 0", "urgent 1", "512 rows"]);
        assert_eq!(turns.next(2), ["urgent 2", "100 rows", "28 rows"]);
        assert_eq!(turns.next(2), ["1 rows"]);
        assert_eq!(turns.len(), 0);
        assert!(turns.next(2).is_empty());
    }

    #[test]
    fn alone_the_rest_goes_together() {
        assert_eq!(turns(0, &[512, 500, 512]).next(9), ["512 rows", "500 rows"]);
        assert_eq!(turns(0, &[5_000, 1]).next(9), ["5000 rows"]);
    }
}
