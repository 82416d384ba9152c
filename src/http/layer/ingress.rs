//! What happens to every webhook request, in this order, around its route.

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

/// Called for a request whose address is not on the list.
type OnAddressRejected = Box<dyn Fn(IpAddr) + Send + Sync>;

/// The rules of [`enter`].
pub(crate) struct Ingress {
    trusted_proxies: Networks,
    /// Who may send; `None`: everybody.
    allowlist: Option<Networks>,
    clock: Clock,
    on_address_rejected: OnAddressRejected,
    access_log: AccessLog,
    request_ids: RequestIdGenerator,
}

impl Ingress {
    /// Believes the `X-Forwarded-For` of `trusted_proxies` and lets in whom `allowlist` names, for `None` everybody.
    /// `on_stranger` hears of every request refused for its address.
    pub(crate) fn new(
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
            on_address_rejected: on_stranger,
            access_log: AccessLog::default(),
            request_ids: RequestIdGenerator::default(),
        }
    }
}

/// Axum middleware, to be used with `from_fn_with_state`. What it costs does not depend on the body.
pub(crate) async fn ingress_middleware(
    State(entry): State<Arc<Ingress>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    // First, so that whatever is said about the request can name it.
    let request_id = entry.request_ids.get_or_generate(request.headers());
    // Before everything that goes by the address: the list, the share of memory, the limit on failures.
    let address = client_addr::client_ip(request.extensions())
        .map(|connection| client_addr::resolve_client_ip(connection, request.headers(), &entry.trusted_proxies));
    if let Some(address) = address {
        request.extensions_mut().insert(ClientAddr(address));
    }
    // Before the route, which reads the body: a stranger costs nothing but this.
    let mut response = match entry.rejected_address(address) {
        Some(stranger) => {
            (entry.on_address_rejected)(stranger);
            ApiError::Forbidden.into_response()
        }
        None => next.run(request).await,
    };
    // Last, when it is known what became of it.
    let name = request_id.to_str().unwrap_or_default();
    entry.access_log.log_request(name, &response, began.elapsed(), entry.clock.now_ms());
    response.headers_mut().insert(request_id::REQUEST_ID_HEADER, request_id);
    response
}

impl Ingress {
    /// The address, when there is a list and it is not on it. Without an address there is nothing to compare: a host
    /// application that does not tell it has nobody on the list.
    fn rejected_address(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let allowlist = self.allowlist.as_ref()?;
        let address = address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        (!allowlist.contains(address)).then_some(address)
    }
}
