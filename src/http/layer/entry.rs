//! What happens to every webhook request, in this order, around its route.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::AccessLog;
use super::client::{self, ClientAddr};
use super::request_id::{self, RequestIds};
use crate::base::clock::Clock;
use crate::base::networks::Networks;
use crate::http::ApiError;

/// Called for a request whose address is not on the list.
type OnStranger = Box<dyn Fn(IpAddr) + Send + Sync>;

/// The rules of [`enter`].
pub struct Entry {
    trusted_proxies: Networks,
    /// Who may send; `None`: everybody.
    allowlist: Option<Networks>,
    clock: Clock,
    on_stranger: OnStranger,
    access: AccessLog,
    request_ids: RequestIds,
}

impl Entry {
    /// Believes the `X-Forwarded-For` of `trusted_proxies` and lets in whom `allowlist` names, for `None` everybody.
    /// `on_stranger` hears of every request refused for its address.
    pub fn new(
        clock: Clock,
        trusted_proxies: Networks,
        allowlist: Option<Networks>,
        on_stranger: impl Fn(IpAddr) + Send + Sync + 'static,
    ) -> Self {
        let on_stranger = Box::new(on_stranger);
        Self {
            trusted_proxies,
            allowlist,
            clock,
            on_stranger,
            access: AccessLog::default(),
            request_ids: RequestIds::default(),
        }
    }
}

/// Axum middleware, to be used with `from_fn_with_state`. What it costs does not depend on the body.
pub async fn enter(State(entry): State<Arc<Entry>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    // First, so that whatever is said about the request can name it.
    let request_id = entry.request_ids.of_request(request.headers());
    // Before everything that goes by the address: the list, the share of memory, the limit on failures.
    let address = client::of_request(request.extensions())
        .map(|connection| client::behind_proxies(connection, request.headers(), &entry.trusted_proxies));
    if let Some(address) = address {
        request.extensions_mut().insert(ClientAddr(address));
    }
    // Before the route, which reads the body: a stranger costs nothing but this.
    let mut response = match entry.stranger(address) {
        Some(stranger) => {
            (entry.on_stranger)(stranger);
            ApiError::Forbidden.into_response()
        }
        None => next.run(request).await,
    };
    // Last, when it is known what became of it.
    let name = request_id.to_str().unwrap_or_default();
    entry.access.note(name, &response, began.elapsed(), entry.clock.now_ms());
    response.headers_mut().insert(request_id::REQUEST_ID, request_id);
    response
}

impl Entry {
    /// The address, when there is a list and it is not on it. Without an address there is nothing to compare: a host
    /// application that does not tell it has nobody on the list.
    fn stranger(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let allowlist = self.allowlist.as_ref()?;
        let address = address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        (!allowlist.contains(address)).then_some(address)
    }
}
