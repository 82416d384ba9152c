//! The baseline: an axum server that receives the same requests without verifying, parsing or storing them.

use std::ffi::OsString;
use std::io::Write;
use std::net::Ipv4Addr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::{BenchError, WEBHOOK_PATH};

/// First argument that turns this executable into the baseline server. It is a separate process, like the receiver,
/// so that both are scheduled in the same way.
pub const BASELINE_FLAG: &str = "--bare-server";

const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// Runs the server until the process is terminated.
pub fn run(port: Option<&OsString>) -> Result<(), BenchError> {
    let port: u16 = port
        .and_then(|port| port.to_str())
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| format!("{BASELINE_FLAG} needs a port number"))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(port))
}

async fn serve(port: u16) -> Result<(), BenchError> {
    let app = Router::new()
        .route(WEBHOOK_PATH, post(receive))
        .route("/ping", get(|| async { "pong" }))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    writeln!(std::io::stdout(), "ready")?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// Reads the whole body, as every receiver must, and drops it.
async fn receive(_body: Bytes) -> StatusCode {
    StatusCode::NO_CONTENT
}
