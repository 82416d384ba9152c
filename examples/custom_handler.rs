//! A custom handler with all three outcomes: done, retry and fail.
//!
//! ```text
//! RETELL_API_KEY=key_… cargo run --example custom_handler
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::disallowed_methods, reason = "an application reads its own environment")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use retell_webhook::{Call, Context, EventHandler, Filter, Outcome, Receiver, async_trait};

/// Minutes of conversation per agent. Stands for the state of your application.
#[derive(Default)]
struct Minutes(Mutex<BTreeMap<String, i64>>);

#[async_trait]
impl EventHandler for Minutes {
    async fn call_ended(&self, call: &Call, context: &Context) -> Outcome {
        let Some(agent) = &call.agent_id else {
            // A retry would not help: the delivery becomes a dead letter, and the log states the reason.
            return Outcome::fail("the call has no agent");
        };
        let Some(duration_ms) = call.duration_ms else {
            // `retry_after` sets the time of the next attempt; `Outcome::retry` follows the handler's retry schedule.
            return if context.attempt < 3 {
                Outcome::retry_after(Duration::from_secs(10), "no duration yet")
            } else {
                Outcome::fail("no duration after three attempts")
            };
        };
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = minutes.entry(agent.clone()).or_default();
        *total += duration_ms / 60_000;
        println!("{agent}: {total} minutes");
        Outcome::Done
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let receiver = Receiver::builder()
        .api_key(std::env::var("RETELL_API_KEY").map_err(|_| "set RETELL_API_KEY to the key with the webhook badge")?)
        .storage_url("sqlite://data/custom_handler.db")
        // The store keeps the handler's progress under this name.
        .handler("minutes", Filter::all().events(["call_ended"]), Minutes::default())
        .build()
        .await?;
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8000);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("listening on {}", listener.local_addr()?);
    // With timeouts for slow senders and a bound on connections, which `axum::serve` does not have.
    Ok(receiver.serve(listener).await?)
}
