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
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use self::accept::Acceptor;
use self::connections::{Connection, Connections};
use self::request_body::ReportingBody;
use self::stream::BudgetedStream;
use crate::base::supervise::{Supervisor, TaskGroup};
use crate::http::budget::InflightBudget;

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
/// How long a connection without a complete request head is kept after the receiver was told to stop. The head of a
/// request that the client is sending is read in this time.
const STOP_GRACE: Duration = Duration::from_millis(250);
/// How long accepted requests may take to finish during shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves `router` on `listener` until the supervisor stops, then answers every request that has arrived. Returns the
/// number of connections that had to be cut off.
pub async fn serve(listener: TcpListener, router: Router, policy: ConnectionPolicy, supervisor: &Supervisor) -> usize {
    let mut tasks = TaskGroup::default();
    let budget = policy.budget.clone();
    let mut serve_connection = |(stream, peer, connection)| {
        let served = ServedConnection { peer, router: router.clone(), connection, supervisor: supervisor.clone() };
        tasks.spawn(served.run(stream, budget.clone()));
    };
    let mut acceptor = Acceptor::new(listener, Connections::new(policy));
    while let Some(accepted) = acceptor.accept_next(supervisor).await {
        serve_connection(accepted);
    }
    acceptor.close().into_iter().for_each(&mut serve_connection);
    let cut_off = tasks.shutdown(DRAIN_TIMEOUT).await;
    if cut_off > 0 {
        tracing::warn!(
            connections = cut_off,
            timeout_ms = DRAIN_TIMEOUT.as_millis(),
            "connections cut off during shutdown"
        );
    }
    cut_off
}

/// A connection with what its requests need.
struct ServedConnection {
    peer: SocketAddr,
    router: Router,
    connection: Arc<Connection>,
    supervisor: Supervisor,
}

impl ServedConnection {
    async fn run(self, stream: TcpStream, budget: InflightBudget) {
        // Responses are small and a sender or caller waits for them, so do not wait for more bytes to fill a packet.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = BudgetedStream::new(Box::pin(stream), Arc::clone(&self.connection), budget);
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            .max_header_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service_fn(|request| self.handle_request(request)));
        let mut serving = pin!(serving);
        tokio::select! {
            biased;
            result = &mut serving => return self.log_end(result),
            () = self.connection.wait_for_close() => {
                return tracing::debug!(peer = %self.peer, "connection closed at the limit");
            }
            () = self.supervisor.wait_for_stop_and_grace(STOP_GRACE) => {}
        }
        // hyper closes a connection between two requests, and one in use after its response; but it would wait for the
        // rest of the first head.
        if !self.connection.awaits_first_request() {
            serving.as_mut().graceful_shutdown();
            self.log_end(serving.await);
        }
    }

    fn log_end(&self, result: hyper::Result<()>) {
        if let Err(error) = result {
            tracing::debug!(peer = %self.peer, %error, "connection ended");
        }
    }

    async fn handle_request(&self, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
        let number = self.connection.begin_request();
        let body = |body| Body::new(ReportingBody::new(body, Arc::clone(&self.connection), number));
        let mut request: Request = request.map(body);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let mut response = self.router.clone().oneshot(request).await?;
        if self.supervisor.is_stopping() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.connection.complete_response(number);
        Ok(response)
    }
}
