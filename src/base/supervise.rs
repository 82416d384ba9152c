//! The only module that spawns tasks and threads. When one of them panics or ends early, the whole process stops in
//! order. A receiver that continues partly, for example answering requests without storing them, would lose events.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns the tasks and threads of a service, detects when one fails, and signals all of them to stop.
#[derive(Clone)]
pub struct Supervisor {
    stop_token: CancellationToken,
    /// Token of the whole service. It differs from `stop_token` in a child only.
    root_stop_token: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
}

impl Default for Supervisor {
    fn default() -> Self {
        let stop_token = CancellationToken::new();
        Self { root_stop_token: stop_token.clone(), stop_token, tasks: TaskTracker::new(), failed: Arc::default() }
    }
}

impl Supervisor {
    /// A supervisor for tasks that can be stopped alone. They stop with the service as well, and a failure of one of
    /// them stops the whole service.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { stop_token: self.stop_token.child_token(), ..self.clone() }
    }

    /// Resolves when the service has to stop, on request or because a task failed.
    pub async fn wait_for_stop(&self) {
        self.stop_token.cancelled().await;
    }

    /// Resolves `grace` after the service was told to stop.
    pub async fn wait_for_stop_and_grace(&self, grace: Duration) {
        self.wait_for_stop().await;
        tokio::time::sleep(grace).await;
    }

    /// Whether the service has to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop_token.is_cancelled()
    }

    /// Signals all tasks to finish their current work and stop.
    pub fn stop(&self) {
        self.stop_token.cancel();
    }

    /// Whether a task failed instead of stopping; the process then exits with an error code.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Runs `task` until it ends. A panic, or an end before [`Supervisor::stop`], stops the service.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = TaskExitGuard { supervisor: self.clone(), name };
        self.tasks.spawn(async move {
            task.await;
            guard.task_ended();
        });
    }

    /// Runs short-lived work. A panic in it does not stop the service.
    pub fn spawn_detached(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Runs blocking work on a separate thread, which ends when its channel closes. A panic in it stops the service.
    ///
    /// # Errors
    /// The operating system cannot create the thread.
    pub fn spawn_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let guard = TaskExitGuard { supervisor: self.clone(), name };
        thread::Builder::new().name(name.into()).spawn(move || {
            work();
            guard.disarm();
        })?;
        Ok(())
    }

    /// Waits until every spawned task has ended. Call [`Supervisor::stop`] first.
    pub async fn wait_for_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stops the whole service because the component `name` found that it must not continue. The process then exits
    /// with an error code.
    pub fn fail(&self, name: &str) {
        self.failed.store(true, Ordering::Relaxed);
        tracing::error!(task = name, "service task failed");
        self.root_stop_token.cancel();
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("stopping", &self.is_stopping()).finish_non_exhaustive()
    }
}

/// A group of short-lived tasks, such as connections. A panic in one does not affect the others.
#[derive(Debug, Default)]
pub(crate) struct TaskGroup(JoinSet<()>);

impl TaskGroup {
    pub(crate) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        // Completed tasks are removed here, so that the set does not grow with the number of tasks ever spawned.
        while self.0.try_join_next().is_some() {}
        self.0.spawn(work);
    }

    /// Waits for all tasks, but not longer than `timeout`; then aborts the rest and returns their number.
    pub(crate) async fn shutdown(mut self, timeout: Duration) -> usize {
        let all_ended = async { while self.0.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(timeout, all_ended).await;
        // Dropping the set on return aborts the tasks that are left.
        self.0.len()
    }
}

/// Runs blocking work on a separate thread and waits for it. A panic in it continues in the caller; `None` when the
/// runtime is shutting down.
#[allow(clippy::disallowed_methods, reason = "the one place that spawns; the panic is passed on")]
pub(crate) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Some(result),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// Stops the service when it is dropped by an unwinding panic. This works for both tasks and threads.
struct TaskExitGuard {
    supervisor: Supervisor,
    name: &'static str,
}

impl TaskExitGuard {
    /// The task returned, which is a failure unless the service is stopping.
    fn task_ended(self) {
        if !self.supervisor.is_stopping() {
            self.supervisor.fail(self.name);
        }
    }

    #[allow(clippy::unused_self, reason = "dropping the guard without a panic disarms it")]
    fn disarm(self) {}
}

impl Drop for TaskExitGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.supervisor.fail(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_task_stops_the_service() {
        let supervisor = Supervisor::default();
        supervisor.spawn("panics", async { panic!("on purpose") });
        supervisor.wait_for_stop().await;
        assert!(supervisor.has_failed());
    }

    #[tokio::test]
    async fn an_early_end_is_a_failure_and_an_end_after_stop_is_not() {
        let early = Supervisor::default();
        early.spawn("early", async {});
        early.wait_for_stop().await;
        assert!(early.has_failed());

        let stopped = Supervisor::default();
        let stop = stopped.clone();
        stopped.spawn("waits", async move { stop.wait_for_stop().await });
        stopped.stop();
        stopped.wait_for_tasks().await;
        assert!(!stopped.has_failed());
    }

    #[tokio::test]
    async fn a_component_can_stop_the_service_by_name() {
        let service = Supervisor::default();
        let component = service.child();
        component.fail("component");
        service.wait_for_stop().await;
        assert!(service.has_failed());
    }

    #[tokio::test]
    async fn a_child_stops_alone_and_its_failure_stops_the_service() {
        let service = Supervisor::default();
        let stopped = service.child();
        let failing = service.child();
        let stop = stopped.clone();
        stopped.spawn("stopped", async move { stop.wait_for_stop().await });
        stopped.stop();
        tokio::task::yield_now().await;
        assert!(!service.is_stopping() && !failing.is_stopping());
        failing.spawn("failing", async { panic!("on purpose") });
        service.wait_for_stop().await;
        assert!(service.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_group_is_aborted_after_the_timeout() {
        let mut tasks = TaskGroup::default();
        tasks.spawn(async {});
        tasks.spawn(tokio::time::sleep(Duration::from_secs(1)));
        tasks.spawn(std::future::pending());
        assert_eq!(tasks.shutdown(Duration::from_secs(2)).await, 1);
    }

    #[tokio::test]
    async fn blocking_work_returns_its_result_or_its_panic() {
        assert_eq!(run_blocking(|| 1).await, Some(1));
        let mut panics = JoinSet::new();
        panics.spawn(run_blocking(|| panic!("on purpose")));
        assert!(panics.join_next().await.unwrap().unwrap_err().is_panic());
    }

    #[tokio::test]
    async fn a_panicking_thread_stops_the_service() {
        let supervisor = Supervisor::default();
        supervisor.spawn_thread("thread", || panic!("on purpose")).unwrap();
        supervisor.wait_for_stop().await;
        assert!(supervisor.has_failed());
    }
}
