//! Only the signature check, in front of your own route: no store, no handlers.
//!
//! ```text
//! RETELL_API_KEY=key_… cargo run --example signature_only --no-default-features
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::disallowed_methods, reason = "an application reads its own environment")]

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use retell_webhook::{Event, SignatureLayer, Verified};

/// Only the layer can create a `Verified`, so this handler never sees an event that Retell did not sign.
async fn receive(event: Verified<Event>) -> StatusCode {
    match event.get() {
        Event::CallEnded(event) => println!("ended: {:?}", event.call.call_id),
        other => println!("{}", other.name()),
    }
    // Retell takes any 2xx as received and does not send the event again: store it before you return.
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = std::env::var("RETELL_API_KEY").map_err(|_| "set RETELL_API_KEY to the key with the webhook badge")?;
    let layer = SignatureLayer::new(key).on_rejected(|rejection| println!("rejected: {}", rejection.reason));
    let app = Router::new().route("/webhook", post(receive).route_layer(layer));
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8000);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?)
}
