//! Helpers of the tests: the program in a separate folder, a raw HTTP client, signatures, bodies.

pub mod bodies;
pub mod client;
pub mod destination;
pub mod load;
pub mod local;
pub mod server;
pub mod signing;
pub mod test_env;

use std::time::{Duration, Instant};

/// Calls `ready` until it returns true or `limit` has passed. Returns whether it returned true.
pub fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if ready() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}
