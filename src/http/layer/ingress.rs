//! The outermost middleware of all webhook requests: request id, client address, allowlist and access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access_log::AccessLog;
use super::client_addr::{self, ClientAddr};
use super::request_id::{self, RequestIdGenerator};
use crate::base::clock::Clock;
use crate::base::networks::Networks;
use crate::http::ApiError;

/// Called for every request whose address is not on the allowlist.
type OnAddressRejected = Box<dyn Fn(IpAddr) + Send + Sync>;

/// The rules and the shared state of [`ingress_middleware`].
pub(crate) struct Ingress {
    trusted_proxies: Networks,
    /// The networks that may send requests; `None` allows all.
    allowlist: Option<Networks>,
    clock: Clock,
    on_address_rejected: OnAddressRejected,
    access_log: AccessLog,
    request_ids: RequestIdGenerator,
}

impl Ingress {
    /// Trusts `X-Forwarded-For` from `trusted_proxies` and accepts only addresses on `allowlist` (`None`: all
    /// addresses). Calls `on_address_rejected` for every request rejected because of its address.
    pub(crate) fn new(
        clock: Clock,
        trusted_proxies: Networks,
        allowlist: Option<Networks>,
        on_address_rejected: impl Fn(IpAddr) + Send + Sync + 'static,
    ) -> Self {
        Self {
            trusted_proxies,
            allowlist,
            clock,
            on_address_rejected: Box::new(on_address_rejected),
            access_log: AccessLog::default(),
            request_ids: RequestIdGenerator::default(),
        }
    }
}

/// Axum middleware for `from_fn_with_state`. Its cost does not depend on the body.
pub(crate) async fn ingress_middleware(
    State(ingress): State<Arc<Ingress>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    // First, so that the access log line and the response have it.
    let request_id = ingress.request_ids.get_or_generate(request.headers());
    // Before everything that depends on the address: the allowlist, the in-flight budget and the rejection log limit.
    let address = client_addr::client_ip(request.extensions())
        .map(|connection| client_addr::resolve_client_ip(connection, request.headers(), &ingress.trusted_proxies));
    if let Some(address) = address {
        request.extensions_mut().insert(ClientAddr(address));
    }
    // Before the route, which reads the body: a request that is not on the allowlist costs nothing else.
    let mut response = match ingress.rejected_address(address) {
        Some(address) => {
            (ingress.on_address_rejected)(address);
            ApiError::Forbidden.into_response()
        }
        None => next.run(request).await,
    };
    // Last, when the outcome is known.
    let id = request_id.to_str().unwrap_or_default();
    ingress.access_log.log_request(id, &response, started.elapsed(), ingress.clock.now_ms());
    response.headers_mut().insert(request_id::REQUEST_ID_HEADER, request_id);
    response
}

impl Ingress {
    /// Returns the address if there is an allowlist that does not contain it. An unknown address is never on the
    /// list: a host application that does not provide addresses cannot use an allowlist.
    fn rejected_address(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let allowlist = self.allowlist.as_ref()?;
        let address = address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        (!allowlist.contains(address)).then_some(address)
    }
}
