//! Accepts connections. `axum::serve` has no timeout for the head of a request, so this uses hyper directly.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::connections::ConnectionsPerAddress;
use crate::base::supervise::{Supervisor, TaskGroup};

/// Connections at the same time. More wait in the operating system's accept queue.
const MAX_CONNECTIONS: usize = 4_096;
/// Connections per client address. More are closed. All requests through a tunnel or proxy share one address.
const MAX_CONNECTIONS_PER_ADDRESS: usize = MAX_CONNECTIONS / 4;
/// How long the head of a request may take, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// Buffer for the head and for one read of the body. A larger head gets 431.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a client may take to read a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long accepted requests may take to finish during shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves `router` on `listener` until the supervisor stops, then finishes running requests. Returns the number of
/// connections that had to be cut off.
pub async fn serve(listener: TcpListener, router: Router, supervisor: &Supervisor) -> usize {
    let graceful = GracefulShutdown::new();
    let total_permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let per_address = ConnectionsPerAddress::new(MAX_CONNECTIONS_PER_ADDRESS);
    let mut connections = TaskGroup::default();
    while let Some((stream, peer, permit)) = accept_next(&listener, &total_permits, supervisor).await {
        let Some(address_permit) = per_address.try_acquire(peer.ip()) else {
            tracing::debug!(%peer, limit = MAX_CONNECTIONS_PER_ADDRESS, "connection closed, limit per address");
            continue;
        };
        let connection = graceful.watch(serve_connection(stream, peer, router.clone()));
        connections.spawn(async move {
            // Both permits are held until the connection ends.
            let _permits = (permit, address_permit);
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    let drained = async { tokio::join!(graceful.shutdown(), connections.shutdown(DRAIN_TIMEOUT)).1 };
    let cut_off = tokio::time::timeout(DRAIN_TIMEOUT + Duration::from_secs(1), drained).await.unwrap_or(0);
    if cut_off > 0 {
        tracing::warn!(
            connections = cut_off,
            timeout_ms = DRAIN_TIMEOUT.as_millis(),
            "connections cut off during shutdown"
        );
    }
    cut_off
}

/// The next connection with its permit; `None` when the receiver stops.
async fn accept_next(
    listener: &TcpListener,
    total_permits: &Arc<Semaphore>,
    supervisor: &Supervisor,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let connection = async {
        // `None` is unreachable: the semaphore is never closed.
        let permit = Arc::clone(total_permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, permit)),
                Err(error) => handle_accept_error(&error).await,
            }
        }
    };
    tokio::select! {
        () = supervisor.wait_for_stop() => None,
        connection = connection => connection,
    }
}

fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    // Responses are small and a sender or caller waits for them, so do not wait for more bytes to fill a packet.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let service = service_fn(move |request: hyper::Request<Incoming>| handle_request(router.clone(), peer, request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .max_header_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
}

async fn handle_request(
    router: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

/// When accepting fails for a local reason, such as no free file descriptors, waits instead of spinning.
async fn handle_accept_error(error: &io::Error) {
    let is_client_error = matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused
    );
    if !is_client_error {
        tracing::warn!(%error, "accept failed");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
