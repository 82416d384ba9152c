//! What the tests share: the program in a folder of its own, a client for odd requests, signatures, bodies.

pub mod bodies;
pub mod client;
pub mod destination;
pub mod local;
pub mod server;
pub mod signing;
pub mod test_env;

use std::time::{Duration, Instant};

/// Asks `ready` until it answers or `limit` has passed; says which.
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
