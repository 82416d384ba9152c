//! The only place that spawns. A part that panics or fails stops the whole process in order, so that none is
//! left half alive: answering requests while nobody writes them down.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns the parts of a service, notices when one dies, and carries the wish to stop to all of them.
#[derive(Clone)]
pub struct Supervisor {
    stop_token: CancellationToken,
    /// Of the whole service; the same as `stop` but for a child.
    root_stop_token: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
}

impl Default for Supervisor {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self { root_stop_token: stop.clone(), stop_token: stop, tasks: TaskTracker::new(), failed: Arc::default() }
    }
}

impl Supervisor {
    /// For parts that can be stopped by themselves. They stop with all others too, and when one dies all stop.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { stop_token: self.stop_token.child_token(), ..self.clone() }
    }

    /// Resolves when the service is to stop: asked to, or because a part of it died.
    pub async fn wait_for_stop(&self) {
        self.stop_token.cancelled().await;
    }

    /// Whether the service is to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop_token.is_cancelled()
    }

    /// Asks every part to finish what it accepted and stop.
    pub fn stop(&self) {
        self.stop_token.cancel();
    }

    /// Whether a part died instead of stopping; the exit code says so.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Runs `part` until it is done. A panic, or an end before [`Supervisor::stop`], stops the service.
    pub fn spawn(&self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let fuse = TaskExitGuard { supervisor: self.clone(), name };
        self.tasks.spawn(async move {
            part.await;
            fuse.task_ended();
        });
    }

    /// Runs short-lived work whose panic concerns nobody else.
    pub fn spawn_detached(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Runs `part` on a thread of its own, for work that blocks. It ends when its channel closes; a panic stops the
    /// service.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn spawn_thread(&self, name: &'static str, part: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let fuse = TaskExitGuard { supervisor: self.clone(), name };
        thread::Builder::new().name(name.into()).spawn(move || {
            part();
            fuse.disarm();
        })?;
        Ok(())
    }

    /// Waits until every spawned task has ended. Call [`Supervisor::stop`] first.
    pub async fn wait_for_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn fail_service(&self, name: &str) {
        self.failed.store(true, Ordering::Relaxed);
        tracing::error!(part = name, "a part of the service died; stopping the process");
        self.root_stop_token.cancel();
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("stopping", &self.is_stopping()).finish_non_exhaustive()
    }
}

/// Work that comes and goes, such as connections: a panic in one concerns none of the others.
#[derive(Debug, Default)]
pub(crate) struct TaskGroup(JoinSet<()>);

impl TaskGroup {
    /// Runs `work`.
    pub(crate) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        // Those that are done are let go here, so that the set does not grow with time.
        while self.0.try_join_next().is_some() {}
        self.0.spawn(work);
    }

    /// Waits for everybody, at most this long; then ends the rest and says how many they were.
    pub(crate) async fn shutdown(mut self, within: Duration) -> usize {
        let all = async { while self.0.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(within, all).await;
        self.0.len()
    }
}

/// Runs `work`, which blocks, beside the tasks and waits for it. A panic in it goes on here; `None` when everything is
/// about to end.
#[allow(clippy::disallowed_methods, reason = "the one place that spawns; the panic is handed on")]
pub(crate) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// Blows when it is dropped by an unwinding panic: works for tasks and threads alike.
struct TaskExitGuard {
    supervisor: Supervisor,
    name: &'static str,
}

impl TaskExitGuard {
    /// The part returned: fine only when the service is stopping.
    fn task_ended(self) {
        if !self.supervisor.is_stopping() {
            self.supervisor.fail_service(self.name);
        }
    }

    #[allow(clippy::unused_self, reason = "dropping it without a panic is what defuses it")]
    fn disarm(self) {}
}

impl Drop for TaskExitGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.supervisor.fail_service(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_stops_everything() {
        let supervisor = Supervisor::default();
        supervisor.spawn("panics", async { panic!("on purpose") });
        supervisor.wait_for_stop().await;
        assert!(supervisor.has_failed());
    }

    #[tokio::test]
    async fn a_part_that_ends_early_is_a_failure_and_one_that_was_asked_is_not() {
        let early = Supervisor::default();
        early.spawn("early", async {});
        early.wait_for_stop().await;
        assert!(early.has_failed());

        let asked = Supervisor::default();
        let stop = asked.clone();
        asked.spawn("waits", async move { stop.wait_for_stop().await });
        asked.stop();
        asked.wait_for_tasks().await;
        assert!(!asked.has_failed());
    }

    #[tokio::test]
    async fn a_child_stops_alone_and_dies_with_all() {
        let all = Supervisor::default();
        let (quiet, dying) = (all.child(), all.child());
        let stop = quiet.clone();
        quiet.spawn("quiet", async move { stop.wait_for_stop().await });
        quiet.stop();
        tokio::task::yield_now().await;
        assert!(!all.is_stopping() && !dying.is_stopping());
        dying.spawn("dying", async { panic!("on purpose") });
        all.wait_for_stop().await;
        assert!(all.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_given_time_and_then_ended() {
        let mut crowd = TaskGroup::default();
        crowd.spawn(async {});
        crowd.spawn(tokio::time::sleep(Duration::from_secs(1)));
        crowd.spawn(std::future::pending());
        assert_eq!(crowd.shutdown(Duration::from_secs(2)).await, 1);
    }

    #[tokio::test]
    async fn blocking_work_answers_or_panics_here() {
        assert_eq!(run_blocking(|| 1).await, Some(1));
        let mut panics = JoinSet::new();
        panics.spawn(run_blocking(|| panic!("on purpose")));
        assert!(panics.join_next().await.unwrap().unwrap_err().is_panic());
    }

    #[tokio::test]
    async fn a_panicking_thread_stops_everything() {
        let supervisor = Supervisor::default();
        supervisor.spawn_thread("thread", || panic!("on purpose")).unwrap();
        supervisor.wait_for_stop().await;
        assert!(supervisor.has_failed());
    }
}
