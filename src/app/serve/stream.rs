//! The stream of a connection, with the limits on what a request head may keep in memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::Connection;
use crate::http::budget::{HeadShare, InflightBudget};

/// Bytes of a head that a connection may buffer without a part of the in-flight budget. Retell's heads have less than
/// 1 KiB, so that a flood of large heads, which uses up their part of the budget, does not affect them.
const FREE_HEAD_BYTES: usize = 8 * 1024;
/// What a larger head takes from the budget: the maximum head, and what hyper reads beyond it.
const LARGE_HEAD_BYTES: usize = 24 * 1024;

/// Counts large request heads against the in-flight budget. Without room, reading fails, which closes the
/// connection. Bodies are counted where they are read.
pub(super) struct BudgetedStream<S> {
    inner: S,
    connection: Arc<Connection>,
    budget: InflightBudget,
    /// The number of the request whose head is read.
    request: u64,
    head_bytes: usize,
    share: Option<HeadShare>,
}

impl<S> BudgetedStream<S> {
    pub(super) fn new(inner: S, connection: Arc<Connection>, budget: InflightBudget) -> Self {
        Self { inner, connection, budget, request: 0, head_bytes: 0, share: None }
    }

    fn count_read(&mut self, bytes: usize) -> io::Result<()> {
        // A request in progress has its head in memory until it ends.
        let Some(awaited) = self.connection.awaited_request() else { return Ok(()) };
        if self.request != awaited {
            self.request = awaited;
            self.head_bytes = 0;
            self.share = None;
        }
        self.head_bytes += bytes;
        if self.head_bytes > FREE_HEAD_BYTES && self.share.is_none() {
            self.share = self.budget.try_acquire_head(LARGE_HEAD_BYTES);
            if self.share.is_none() {
                return Err(io::Error::other("no memory for a request head of more than 8 KiB"));
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BudgetedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        Poll::Ready(this.count_read(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BudgetedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
