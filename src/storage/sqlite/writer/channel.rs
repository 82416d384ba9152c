//! Passes writes from their callers to the writer thread, which collects several before it begins a transaction.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::queue::{QueuedWrite, WritePriority, WriteQueue};

/// Writes that wait in the channel, and as many again in the [`WriteQueue`]. Callers of further ones wait for room;
/// the memory they hold meanwhile is bounded by the in-flight budget.
const CAPACITY: usize = 1024;
/// Time between the starts of two transactions, except when a caller waits or many writes do: a commit costs nearly the
/// same for one event as for ten, and each holds up its sender by half of this on average.
const INTERVAL: Duration = Duration::from_micros(1_800);
/// How long deferrable writes wait for others: long enough to share the commits of a hundred events per second.
const MAX_DEFERRAL: Duration = Duration::from_millis(20);
/// Time without a transaction after which deferrable writes do not wait: hardly any other will come, and what the
/// transaction of an event has brought into the caches is still there.
const PAUSE: Duration = Duration::from_millis(250);
/// Events, and rows of background work, with which a transaction begins at once.
const ENOUGH_EVENTS: usize = 12;
const ENOUGH_ROWS: usize = 64;

pub(super) struct WriteChannel<J> {
    state: Mutex<ChannelState<J>>,
    changed: Condvar,
    room: Semaphore,
}

struct ChannelState<J> {
    writes: VecDeque<QueuedWrite<J>>,
    /// Whether there is a live request among them.
    has_live: bool,
    events: usize,
    background_rows: usize,
    /// Number of writes that are not deferrable.
    undeferrable: usize,
    /// Of the previous transaction; this one probably has the same.
    pace: Pace,
    wait: WriterWait,
    is_closed: bool,
}

/// How soon a transaction follows the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// After [`PAUSE`] or more.
    AfterPause,
    Separate,
    /// It waited for the end of [`INTERVAL`].
    Busy,
}

/// What the writer thread waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriterWait {
    /// Nothing: it is running a transaction.
    Nothing,
    AnyWrite,
    UndeferrableWrite,
    EnoughWrites,
}

/// The channel is closed; the write was not accepted.
pub(super) struct ChannelClosed;

impl<J> Default for WriteChannel<J> {
    fn default() -> Self {
        let state = ChannelState {
            writes: VecDeque::new(),
            has_live: false,
            events: 0,
            background_rows: 0,
            undeferrable: 0,
            pace: Pace::Separate,
            wait: WriterWait::Nothing,
            is_closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), room: Semaphore::new(CAPACITY) }
    }
}

impl<J> WriteChannel<J> {
    /// Adds a write; waits for room.
    pub(super) async fn send(&self, write: QueuedWrite<J>) -> Result<(), ChannelClosed> {
        let room = self.room.acquire().await.map_err(|_| ChannelClosed)?;
        self.push(write)?;
        // Returned by `receive`.
        room.forget();
        Ok(())
    }

    /// Adds a write if there is room.
    pub(super) fn try_send(&self, write: QueuedWrite<J>) {
        if let Ok(room) = self.room.try_acquire()
            && self.push(write).is_ok()
        {
            room.forget();
        }
    }

    fn push(&self, write: QueuedWrite<J>) -> Result<(), ChannelClosed> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(ChannelClosed);
        }
        match write.priority {
            WritePriority::Live => state.has_live = true,
            WritePriority::Ingest => state.events += 1,
            WritePriority::Background(rows) => state.background_rows += rows,
            WritePriority::Deferrable(_) => {}
        }
        state.undeferrable += usize::from(!matches!(write.priority, WritePriority::Deferrable(_)));
        state.writes.push_back(write);
        let wakes = match state.wait {
            WriterWait::Nothing => false,
            WriterWait::AnyWrite => true,
            WriterWait::UndeferrableWrite => state.undeferrable > 0,
            WriterWait::EnoughWrites => state.has_enough(),
        };
        if wakes {
            // Once: the thread may take a while to run.
            state.wait = WriterWait::Nothing;
            drop(state);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Accepts no more writes. Those that were accepted can still be received.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.room.close();
        self.changed.notify_one();
    }

    /// Waits for writes, and for more of them until [`INTERVAL`] has passed since `last_begin`. `false` after the last
    /// one.
    pub(super) fn wait(&self, last_begin: Option<Instant>) -> bool {
        let interval_end = last_begin.map(|begin| begin + INTERVAL);
        let previous = self.lock().pace;
        // While writes keep coming, the thread wakes up once per interval, and not for the first write of each as well.
        let mut is_busy = previous == Pace::Busy && !self.wait_for_enough(interval_end).writes.is_empty();
        let deferral = if previous == Pace::AfterPause { Duration::ZERO } else { MAX_DEFERRAL };
        // Results of deliveries often follow an event at once. They do not wake the thread before their time is over.
        let mut state = self.wait_for_undeferrable(last_begin, deferral);
        if state.writes.is_empty() {
            drop(state);
            state = self.wait_while(WriterWait::AnyWrite, None, |state| state.writes.is_empty());
            if state.undeferrable == 0 {
                drop(state);
                state = self.wait_for_undeferrable(Some(Instant::now()), deferral);
            }
        }
        is_busy |= interval_end.is_some_and(|end| Instant::now() < end);
        let is_after_pause = last_begin.is_none_or(|begin| begin.elapsed() >= PAUSE);
        drop(state);
        state = self.wait_for_enough(interval_end);
        state.pace = match (is_busy, is_after_pause) {
            (true, _) => Pace::Busy,
            (false, true) => Pace::AfterPause,
            (false, false) => Pace::Separate,
        };
        !state.writes.is_empty()
    }

    /// Waits for enough writes, not longer than until `end`.
    fn wait_for_enough(&self, end: Option<Instant>) -> MutexGuard<'_, ChannelState<J>> {
        self.wait_while(WriterWait::EnoughWrites, Some(time_left(end)), |state| !state.has_enough())
    }

    /// Waits for a write that is not deferrable, not longer than others that arrived at `begin` may be put off.
    fn wait_for_undeferrable(&self, begin: Option<Instant>, deferral: Duration) -> MutexGuard<'_, ChannelState<J>> {
        let left = time_left(begin.map(|begin| begin + deferral));
        self.wait_while(WriterWait::UndeferrableWrite, Some(left), |state| state.undeferrable == 0)
    }

    fn wait_while(
        &self,
        wait: WriterWait,
        limit: Option<Duration>,
        condition: impl Fn(&ChannelState<J>) -> bool,
    ) -> MutexGuard<'_, ChannelState<J>> {
        let state = self.lock();
        let waits = |state: &mut ChannelState<J>| {
            let waits = condition(state) && !state.is_closed;
            state.wait = if waits { wait } else { WriterWait::Nothing };
            waits
        };
        let mut state = match limit {
            Some(limit) => {
                self.changed.wait_timeout_while(state, limit, waits).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner),
        };
        state.wait = WriterWait::Nothing;
        state
    }

    /// Moves writes into the queue. The bound keeps backpressure in the channel: without it the queue would take every
    /// write at once, and senders would never wait for room.
    pub(super) fn receive(&self, queue: &mut WriteQueue<J>) {
        let mut received = 0;
        let mut state = self.lock();
        while queue.len() < CAPACITY
            && let Some(write) = state.writes.pop_front()
        {
            queue.push(write);
            received += 1;
        }
        if received == 0 {
            return;
        }
        if state.writes.is_empty() {
            (state.has_live, state.events, state.background_rows, state.undeferrable) = (false, 0, 0, 0);
        }
        drop(state);
        self.room.add_permits(received);
    }

    fn lock(&self) -> MutexGuard<'_, ChannelState<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn time_left(end: Option<Instant>) -> Duration {
    end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()))
}

impl<J> ChannelState<J> {
    fn has_enough(&self) -> bool {
        self.has_live || self.events >= ENOUGH_EVENTS || self.background_rows >= ENOUGH_ROWS
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn push(channel: &WriteChannel<&'static str>, priority: WritePriority, job: &'static str) {
        assert!(channel.push(QueuedWrite { priority, job }).is_ok());
    }

    fn receive(channel: &WriteChannel<&'static str>) -> Vec<&'static str> {
        let mut queue = WriteQueue::default();
        channel.receive(&mut queue);
        queue.begin_transaction();
        std::iter::from_fn(|| queue.pop()).collect()
    }

    /// What the writer thread receives for its next transaction, while `pushes` runs.
    fn receive_during(
        channel: &WriteChannel<&'static str>,
        last_begin: Option<Instant>,
        pushes: impl FnOnce(),
    ) -> Vec<&'static str> {
        thread::scope(|scope| {
            let received = scope.spawn(|| {
                assert!(channel.wait(last_begin));
                receive(channel)
            });
            pushes();
            received.join().unwrap()
        })
    }

    #[test]
    fn a_deferrable_write_waits_for_an_event() {
        let channel = WriteChannel::default();
        let received = receive_during(&channel, Some(Instant::now()), || {
            push(&channel, WritePriority::Deferrable(2), "result");
            push(&channel, WritePriority::Ingest, "event");
        });
        assert_eq!(received, ["event", "result"]);
    }

    #[test]
    fn a_deferrable_write_is_not_put_off_without_end() {
        let channel = WriteChannel::default();
        for last_begin in [None, Some(Instant::now())] {
            push(&channel, WritePriority::Deferrable(2), "result");
            assert_eq!(receive_during(&channel, last_begin, || {}), ["result"]);
        }
        channel.close();
        assert!(!channel.wait(None));
    }
}
