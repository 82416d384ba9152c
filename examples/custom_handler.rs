//! A handler of your own, one outcome each: done, again later, and given up.
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

/// Counts minutes by agent; stands for whatever your application keeps.
#[derive(Default)]
struct Minutes(Mutex<BTreeMap<String, i64>>);

#[async_trait]
impl EventHandler for Minutes {
    async fn call_ended(&self, call: &Call, context: &Context) -> Outcome {
        let Some(agent) = &call.agent_id else {
            // Trying again would change nothing: the delivery is dead, and the log says why.
            return Outcome::fail("a call without an agent");
        };
        let Some(duration_ms) = call.duration_ms else {
            // Something outside is not there yet. Without a time of its own, the retry follows the usual schedule.
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
        // The store remembers by the name how far the handler has come.
        .handler("minutes", Filter::all().events(["call_ended"]), Minutes::default())
        .build()
        .await?;
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8000);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("listening on {}", listener.local_addr()?);
    let supervisor = receiver.supervisor().clone();
    let stop = supervisor.clone();
    supervisor.spawn_detached(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.stop();
    });
    // With time-outs on slow senders and a bound on connections, which `axum::serve` has not.
    retell_webhook::internals::serve(listener, receiver.standalone(), &supervisor).await;
    Ok(receiver.shutdown().await?)
}
