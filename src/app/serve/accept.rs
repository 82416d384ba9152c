//! Accepts connections and makes room for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::connections::{Connection, ConnectionLimit, Connections};
use crate::base::supervise::Supervisor;

/// Connections that wait to be accepted, if the system allows as many. When the queue is full, the next client tries again
/// only after a second.
const ACCEPT_QUEUE: u32 = 4_096;
/// How long a connection that was told to close may take before another one is.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(50);
/// Pause after a local error, such as no free files.
const ERROR_RETRY: Duration = Duration::from_millis(100);
/// Minimum time between two warnings of the same kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Listens at `address`, with a longer accept queue than `TcpListener::bind` has (128).
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: a restart must not wait for the connections of the process before it. On Windows the
    // option means something else.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

pub(super) struct Acceptor {
    listener: TcpListener,
    pub(super) connections: Arc<Connections>,
    /// Connections that were closed at a limit since the last warning.
    unreported: u64,
    next_warning_at: Instant,
    next_error_at: Instant,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, connections: Arc<Connections>) -> Self {
        let now = Instant::now();
        Self { listener, connections, unreported: 0, next_warning_at: now, next_error_at: now }
    }

    /// The next connection; `None` when the receiver stops.
    pub(super) async fn accept_next(
        &mut self,
        supervisor: &Supervisor,
    ) -> Option<(TcpStream, SocketAddr, Arc<Connection>)> {
        tokio::select! {
            biased;
            () = supervisor.wait_for_stop() => None,
            accepted = self.accept() => Some(accepted),
        }
    }

    /// Stops listening. Returns the connections that clients had opened by then and that were not accepted yet, unless a
    /// limit is reached: their requests may have arrived.
    pub(super) fn close(self) -> Vec<(TcpStream, SocketAddr, Arc<Connection>)> {
        // The listener of the standard library asks the system; tokio's knows only what its last poll has shown.
        let Ok(listener) = self.listener.into_std() else { return Vec::new() };
        let opened = std::iter::from_fn(|| listener.accept().ok()).take(ACCEPT_QUEUE as usize);
        opened
            .filter_map(|(stream, peer)| {
                stream.set_nonblocking(true).ok()?;
                let connection = self.connections.try_add(peer.ip()).ok()?;
                Some((TcpStream::from_std(stream).ok()?, peer, connection))
            })
            .collect()
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr, Arc<Connection>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = sleep_until(self.next_warning_at), if self.unreported > 0 => {
                    self.warn_closed();
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(connection) = self.add(peer).await {
                        return (stream, peer, connection);
                    }
                }
                Err(error) => self.handle_error(&error).await,
            }
        }
    }

    /// Adds the connection, after closing another one if need be. When all connections have complete requests, it waits
    /// until one of them is answered. `None` when those of this address have: others must not wait for them.
    async fn add(&mut self, peer: SocketAddr) -> Option<Arc<Connection>> {
        loop {
            let limit = match self.connections.try_add(peer.ip()) {
                Ok(connection) => return Some(connection),
                Err(limit) => limit,
            };
            if !self.close_one(limit) && limit != ConnectionLimit::Total {
                return None;
            }
            let deadline = Instant::now() + CLOSE_TIMEOUT;
            while timeout_at(deadline, self.connections.wait_for_room()).await.is_ok() {
                if let Ok(connection) = self.connections.try_add(peer.ip()) {
                    return Some(connection);
                }
            }
        }
    }

    fn close_one(&mut self, limit: ConnectionLimit) -> bool {
        let is_closed = self.connections.close_longest_waiting(limit);
        if is_closed {
            self.unreported += 1;
            if Instant::now() >= self.next_warning_at {
                self.warn_closed();
            }
        }
        is_closed
    }

    fn warn_closed(&mut self) {
        let (address, of_address) = self.connections.busiest_address().unzip();
        tracing::warn!(
            closed = self.unreported,
            limit = self.connections.policy.max_connections,
            client_ip = address.map(tracing::field::display),
            client_connections = of_address,
            "connection limit reached"
        );
        self.unreported = 0;
        self.next_warning_at = Instant::now() + WARNING_INTERVAL;
    }

    /// After a local error, such as no free files, closes a connection and waits instead of spinning.
    async fn handle_error(&mut self, error: &io::Error) {
        let is_client_error = matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused
        );
        if is_client_error {
            return;
        }
        if Instant::now() >= self.next_error_at {
            tracing::warn!(%error, "accept failed");
            self.next_error_at = Instant::now() + WARNING_INTERVAL;
        }
        self.close_one(ConnectionLimit::Total);
        sleep(ERROR_RETRY).await;
    }
}
