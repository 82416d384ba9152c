//! Accepts connections. `axum::serve` has no timeout for the head of a request, so this uses hyper directly.
//!
//! A connection takes a file and memory before its client has shown a signature. When there are too many, those are closed
//! that wait for their client longest, so that a client who opens connections and sends nothing loses its own.

mod accept;
mod connections;
mod policy;
mod request_body;
mod stream;

use std::convert::Infallible;
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
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use self::accept::Acceptor;
use self::connections::{Connection, Connections};
use self::request_body::ReportingBody;
use self::stream::BudgetedStream;
use crate::base::supervise::{Supervisor, TaskGroup};

pub(crate) use accept::bind;
pub use policy::ConnectionPolicy;

/// How long the head of a request may take, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// A larger head gets 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Buffer for one read of the body.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a client may take to read a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long accepted requests may take to finish during shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves `router` on `listener` until the supervisor stops, then finishes running requests. Returns the number of
/// connections that had to be cut off.
pub async fn serve(listener: TcpListener, router: Router, policy: ConnectionPolicy, supervisor: &Supervisor) -> usize {
    let graceful = GracefulShutdown::new();
    let mut tasks = TaskGroup::default();
    let mut acceptor = Acceptor::new(listener, Connections::new(policy));
    while let Some((stream, peer, connection)) = acceptor.accept_next(supervisor).await {
        let serving = serve_connection(stream, peer, router.clone(), Arc::clone(&connection), &acceptor.connections);
        let serving = graceful.watch(serving);
        tasks.spawn(async move {
            tokio::select! {
                result = serving => if let Err(error) = result {
                    tracing::debug!(%peer, %error, "connection ended");
                },
                () = connection.wait_for_close() => tracing::debug!(%peer, "connection closed at the limit"),
            }
        });
    }
    drop(acceptor);
    let drained = async { tokio::join!(graceful.shutdown(), tasks.shutdown(DRAIN_TIMEOUT)).1 };
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

fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    connection: Arc<Connection>,
    connections: &Connections,
) -> impl GracefulConnection<Error = hyper::Error> + Send + use<> {
    // Responses are small and a sender or caller waits for them, so do not wait for more bytes to fill a packet.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let stream = BudgetedStream::new(Box::pin(stream), Arc::clone(&connection), connections.policy.budget.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        handle_request(router.clone(), peer, Arc::clone(&connection), request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}

async fn handle_request(
    router: Router,
    peer: SocketAddr,
    connection: Arc<Connection>,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let number = connection.begin_request();
    let mut request: Request = request.map(|body| Body::new(ReportingBody::new(body, Arc::clone(&connection), number)));
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.oneshot(request).await;
    connection.complete_response(number);
    response
}
