//! Accepting connections. `axum::serve` has no time-out for the head of a request, so this goes through hyper.

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

/// Connections at a time; further ones wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 4_096;
/// Connections of one address; further ones are closed. Behind a tunnel or proxy everybody comes from one.
const MAX_CONNECTIONS_PER_ADDRESS: usize = MAX_CONNECTIONS / 4;
/// How long the head of a request may take, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// Room for the head and for one read of a body. Larger heads get 431.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long somebody may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long requests that were accepted may take to finish when the service stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves `router` on `listener` until the supervisor stops, then finishes the requests under way. Says how many
/// connections had to be cut off.
pub async fn serve(listener: TcpListener, router: Router, supervisor: &Supervisor) -> usize {
    let graceful = GracefulShutdown::new();
    let (room, guests) =
        (Arc::new(Semaphore::new(MAX_CONNECTIONS)), ConnectionsPerAddress::new(MAX_CONNECTIONS_PER_ADDRESS));
    let mut connections = TaskGroup::default();
    while let Some((stream, peer, permit)) = accept_next(&listener, &room, supervisor).await {
        let Some(guest) = guests.try_acquire(peer.ip()) else {
            tracing::debug!(%peer, "connection refused: its address has too many");
            continue;
        };
        let connection = graceful.watch(serve_connection(stream, peer, router.clone()));
        connections.spawn(async move {
            let _held = (permit, guest);
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    let drained = async { tokio::join!(graceful.shutdown(), connections.shutdown(DRAIN_TIMEOUT)).1 };
    let cut_off = tokio::time::timeout(DRAIN_TIMEOUT + Duration::from_secs(1), drained).await.unwrap_or(0);
    if cut_off > 0 {
        tracing::warn!(connections = cut_off, "connections were still open after 8 s and were cut off");
    }
    cut_off
}

/// The next connection with its place among all; `None` when the service stops.
async fn accept_next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    supervisor: &Supervisor,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let arrival = async {
        // The semaphore is never closed.
        let permit = Arc::clone(room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, permit)),
                Err(error) => handle_accept_error(&error).await,
            }
        }
    };
    tokio::select! {
        () = supervisor.wait_for_stop() => None,
        arrival = arrival => arrival,
    }
}

fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    // Answers are small and somebody waits for them.
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

/// Out of file descriptors, say: wait a little rather than spin.
async fn handle_accept_error(error: &io::Error) {
    let of_one_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused
    );
    if !of_one_client {
        tracing::warn!(%error, "cannot accept connections; trying again in a second");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
