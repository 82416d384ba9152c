//! A fake of Retell's REST API on a loopback address, with its state in memory. It sends nothing to the internet.
//!
//! The state is raw JSON documents, so a client that drops unknown keys loses them here as it would at Retell. The rules
//! that are known of the real API are functions in `rules`, each with its source; where no source decides, the fake is
//! the stricter of the two possible servers, and the comment says so.

mod answer;
mod builder;
mod faults;
mod pages;
mod play;
mod request;
mod request_log;
mod routes;
mod rules;
mod server;
#[cfg(test)]
mod tests;
pub(crate) mod versions;
mod workspace;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::server::FakeServer;
use crate::base::clock::Clock;
use crate::base::supervise::TaskGroup;

pub(crate) use self::builder::{AgentSeed, custom_tool, number_bound_to};
pub(crate) use self::faults::{Fault, RateLimit};
pub(crate) use self::play::{PlayError, PlayedEvent};
pub(crate) use self::request_log::{PathCount, RecordedRequest};
pub(crate) use self::workspace::{Workspace, Workspaces};

/// A running fake. Dropping it closes the listener and ends its connections.
pub(crate) struct FakeRetell {
    address: SocketAddr,
    server: Arc<FakeServer>,
    stop: CancellationToken,
    /// Dropping the group aborts the task that accepts connections.
    _tasks: TaskGroup,
}

impl FakeRetell {
    /// Serves `seed` on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port of 127.0.0.1 can be bound.
    pub(crate) async fn start(seed: Workspace) -> io::Result<Self> {
        Self::start_with_clock(seed, Clock::system()).await
    }

    /// Like [`start`](Self::start), with the clock that modification times and the rate limit use.
    ///
    /// # Errors
    /// No port of 127.0.0.1 can be bound.
    pub(crate) async fn start_with_clock(seed: Workspace, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let server = Arc::new(FakeServer::new(seed, clock, stop.clone()));
        let router = server::router(Arc::clone(&server));
        let stopped = stop.clone().cancelled_owned();
        let mut tasks = TaskGroup::default();
        tasks.spawn(async move {
            // An error of the listener ends the fake; its clients then get no connection.
            drop(axum::serve(listener, router).with_graceful_shutdown(stopped).await);
        });
        Ok(Self { address, server, stop, _tasks: tasks })
    }

    /// The URL in front of the paths, without a slash at the end.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Reads or changes the state directly, as a change in the dashboard does. Requests wait meanwhile.
    pub(crate) fn edit<T>(&self, change: impl FnOnce(&mut Workspaces) -> T) -> T {
        change(&mut self.server.lock_workspaces())
    }

    /// Applies `fault` to every request whose path begins with `path_prefix`, until [`clear_faults`](Self::clear_faults).
    pub(crate) fn inject(&self, path_prefix: &str, fault: Fault) {
        self.server.lock_faults().add(path_prefix, fault, None);
    }

    /// Applies `fault` to the next `times` requests whose path begins with `path_prefix`.
    pub(crate) fn inject_times(&self, path_prefix: &str, fault: Fault, times: u32) {
        self.server.lock_faults().add(path_prefix, fault, Some(times));
    }

    /// Removes all faults and the rate limit.
    pub(crate) fn clear_faults(&self) {
        self.server.lock_faults().clear();
    }

    /// Answers 429 to requests above `limit`.
    pub(crate) fn limit_requests(&self, limit: RateLimit) {
        self.server.lock_faults().set_rate_limit(limit);
    }

    /// The latest requests, oldest first.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.server.log.requests()
    }

    /// Counts of the requests whose path begins with `path_prefix`; an empty prefix counts all.
    pub(crate) fn count(&self, path_prefix: &str) -> PathCount {
        self.server.log.count(path_prefix)
    }

    /// Forgets all requests that were counted up to now.
    pub(crate) fn reset_counts(&self) {
        self.server.log.reset();
    }

    /// Ends the call `call_id` and posts its signed webhooks in order. See [`play::play_call`].
    ///
    /// # Errors
    /// The call is unknown, its agent has no webhook URL on this machine, or the workspace has no key that signs.
    pub(crate) async fn play_call(&self, call_id: &str) -> Result<Vec<PlayedEvent>, PlayError> {
        play::play_call(&self.server, call_id).await
    }
}

impl Drop for FakeRetell {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
