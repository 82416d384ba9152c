//! The receiver in an existing axum application with its own routes, state and server.
//!
//! ```text
//! RETELL_API_KEY=key_… cargo run --example embedded
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::disallowed_methods, reason = "an application reads its own environment")]

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use retell_webhook::{Outcome, Receiver};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let receiver = Receiver::builder()
        .api_key(std::env::var("RETELL_API_KEY").map_err(|_| "set RETELL_API_KEY to the key with the webhook badge")?)
        .storage_url("sqlite://data/embedded.db")
        .on_call_started(|call, _| async move {
            println!("started: {:?}", call.call_id);
            Outcome::Done
        })
        .on_call_ended(|call, context| async move {
            // The event id stays the same over retries: use it as the idempotency key of what you do.
            println!("ended: {:?} after {:?} ms ({})", call.call_id, call.duration_ms, context.event_id);
            Outcome::Done
        })
        .build()
        .await?;

    let app = Router::new().route("/", get(|| async { "my application" })).merge(receiver.webhook_router());
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8000);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("listening on {}", listener.local_addr()?);
    let receiver_stopped = receiver.stopped();
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                // A component of the receiver failed: no event could be stored any more.
                () = receiver_stopped => {}
            }
        })
        .await?;
    Ok(receiver.shutdown().await?)
}
