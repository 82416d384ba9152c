//! Counts of the requests, so that tests can assert how a client behaves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::request::ReceivedRequest;

/// Number of requests that are kept in full. Older ones are counted only.
const MAX_RECORDED: usize = 1_000;

/// A request as the fake received it. The key is left out.
#[derive(Clone, Debug)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// The JSON body; null when there was none.
    pub(crate) body: Value,
}

/// Counts of the requests below a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathCount {
    pub(crate) total: u64,
    /// The largest number of requests that were answered at the same time. For a prefix of several paths it is the
    /// largest of these paths; the empty prefix has the number of all paths together.
    pub(crate) max_at_once: u64,
    at_once: u64,
}

#[derive(Default)]
pub(super) struct RequestLog(Mutex<LogState>);

#[derive(Default)]
struct LogState {
    recorded: VecDeque<RecordedRequest>,
    by_path: BTreeMap<String, PathCount>,
    all: PathCount,
}

/// Counts a request as being answered until it is dropped, also when its client disconnects.
pub(super) struct InFlightRequest<'a> {
    log: &'a RequestLog,
    path: String,
    /// Number of requests in flight, including this one, when it arrived.
    pub(super) at_once: u64,
}

impl RequestLog {
    pub(super) fn begin(&self, path: &str) -> InFlightRequest<'_> {
        let mut state = self.lock();
        state.all.begin();
        state.by_path.entry(path.to_owned()).or_default().begin();
        InFlightRequest { log: self, path: path.to_owned(), at_once: state.all.at_once }
    }

    pub(super) fn record(&self, request: &ReceivedRequest) {
        let mut state = self.lock();
        if state.recorded.len() == MAX_RECORDED {
            state.recorded.pop_front();
        }
        state.recorded.push_back(RecordedRequest {
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            body: request.json(),
        });
    }

    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().recorded.iter().cloned().collect()
    }

    pub(super) fn count(&self, path_prefix: &str) -> PathCount {
        let state = self.lock();
        if path_prefix.is_empty() {
            return state.all;
        }
        let matching = state.by_path.iter().filter(|(path, _)| path.starts_with(path_prefix));
        matching.fold(PathCount::default(), |sum, (_, count)| PathCount {
            total: sum.total + count.total,
            max_at_once: sum.max_at_once.max(count.max_at_once),
            at_once: sum.at_once + count.at_once,
        })
    }

    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.recorded.clear();
        state.all.reset();
        // The entries stay for the requests that are in flight.
        state.by_path.values_mut().for_each(PathCount::reset);
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PathCount {
    fn begin(&mut self) {
        self.total += 1;
        self.at_once += 1;
        self.max_at_once = self.max_at_once.max(self.at_once);
    }

    fn end(&mut self) {
        self.at_once = self.at_once.saturating_sub(1);
    }

    fn reset(&mut self) {
        *self = Self { total: 0, max_at_once: 0, at_once: self.at_once };
    }
}

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        let mut state = self.log.lock();
        state.all.end();
        if let Some(count) = state.by_path.get_mut(&self.path) {
            count.end();
        }
    }
}
