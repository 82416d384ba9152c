//! The async runtime of the program.

use std::num::NonZero;
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// Builds the runtime with a thread for each core but one, which the store's own threads use. With a thread for each core,
/// two threads wake each other for every event; at low rates that costs more than the event.
///
/// # Errors
/// The operating system cannot create the threads.
pub fn build_runtime() -> std::io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread().worker_threads(cores.saturating_sub(1).max(1)).enable_all().build()
}
