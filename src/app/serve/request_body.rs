//! A request body that reports when all of it has arrived.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::connections::Connection;

pub(super) struct ReportingBody {
    inner: Incoming,
    connection: Arc<Connection>,
    request: u64,
}

impl ReportingBody {
    pub(super) fn new(inner: Incoming, connection: Arc<Connection>, request: u64) -> Self {
        let body = Self { inner, connection, request };
        body.report_if_complete();
        body
    }

    fn report_if_complete(&self) {
        if self.inner.is_end_stream() {
            self.connection.complete_request(self.request);
        }
    }
}

impl Body for ReportingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            // The end of a chunked body.
            None => this.connection.complete_request(this.request),
            Some(_) => this.report_if_complete(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
