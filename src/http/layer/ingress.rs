//! The outermost middleware of all webhook requests: request id, client address, allowlist and access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access_log::{AccessLog, LoggedRequest};
use super::client_addr::{self, ClientAddr};
use super::refusal_log_limit::RefusalLogLimit;
use super::request_id::{self, RequestIdGenerator};
use crate::base::clock::Clock;
use crate::base::networks::Networks;
use crate::http::{ApiError, Refusal, RefusalReason};

/// Called for every request that is refused.
type OnRefused = Box<dyn Fn(RefusalReason) + Send + Sync>;
/// Called for requests from addresses that are not on the allowlist, as far as they are logged.
type OnForbidden = Box<dyn Fn(&ForbiddenRequest<'_>) + Send + Sync>;

/// A request from an address that is not on the allowlist. Its body was not read.
pub(crate) struct ForbiddenRequest<'a> {
    pub(crate) client_ip: Option<IpAddr>,
    /// The trusted proxy that forwarded the request.
    pub(crate) proxy: Option<IpAddr>,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) received_at_ms: i64,
}

/// The rules and the shared state of [`ingress_middleware`].
pub(crate) struct Ingress {
    trusted_proxies: Networks,
    /// The networks that may send requests; `None` allows all.
    allowlist: Option<Networks>,
    clock: Clock,
    on_refused: OnRefused,
    on_forbidden: OnForbidden,
    access_log: AccessLog,
    request_ids: RequestIdGenerator,
}

impl Ingress {
    /// Trusts `X-Forwarded-For` from `trusted_proxies` and accepts only addresses on `allowlist` (`None`: all
    /// addresses). Calls `on_refused` for every refused request; `refusal_log_limit` decides which of them are logged.
    pub(crate) fn new(
        clock: Clock,
        trusted_proxies: Networks,
        allowlist: Option<Networks>,
        refusal_log_limit: Arc<RefusalLogLimit>,
        on_refused: impl Fn(RefusalReason) + Send + Sync + 'static,
    ) -> Self {
        Self {
            trusted_proxies,
            allowlist,
            clock,
            on_refused: Box::new(on_refused),
            on_forbidden: Box::new(|_| {}),
            access_log: AccessLog::new(refusal_log_limit),
            request_ids: RequestIdGenerator::default(),
        }
    }

    /// Calls `on_forbidden` for requests from addresses that are not on the allowlist, as far as they are logged.
    pub(crate) fn on_forbidden(self, on_forbidden: impl Fn(&ForbiddenRequest<'_>) + Send + Sync + 'static) -> Self {
        Self { on_forbidden: Box::new(on_forbidden), ..self }
    }
}

/// Axum middleware for `from_fn_with_state`. Its cost does not depend on the body.
pub(crate) async fn ingress_middleware(
    State(ingress): State<Arc<Ingress>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started_at = Instant::now();
    // First, so that the access log line and the response have it.
    let request_id = ingress.request_ids.get_or_generate(request.headers());
    // Before everything that depends on the address: the allowlist, the in-flight budget and the rejection log limit.
    let peer = client_addr::client_ip(request.extensions());
    let address =
        peer.map(|connection| client_addr::resolve_client_ip(connection, request.headers(), &ingress.trusted_proxies));
    if let Some(address) = address {
        request.extensions_mut().insert(ClientAddr(address));
    }
    let uri = request.uri().clone();
    // Before the route, which reads the body: a request that is not on the allowlist costs nothing else.
    let (mut response, forbidden) = if ingress.allows(address) {
        (next.run(request).await, None)
    } else {
        (ApiError::Forbidden.into_response(), Some(request))
    };
    // Last, when the outcome is known.
    if let Some(refusal) = response.extensions().get::<Refusal>() {
        (ingress.on_refused)(refusal.reason);
    }
    let logged = LoggedRequest {
        id: request_id.to_str().unwrap_or_default(),
        client_ip: address,
        proxy: peer.filter(|_| peer != address),
        path: uri.path(),
        started_at,
        now_ms: ingress.clock.now_ms(),
    };
    let is_logged = ingress.access_log.log_request(&logged, &response);
    if let Some(request) = forbidden.filter(|_| is_logged) {
        (ingress.on_forbidden)(&ForbiddenRequest {
            client_ip: logged.client_ip,
            proxy: logged.proxy,
            method: request.method(),
            path: logged.path,
            headers: request.headers(),
            received_at_ms: logged.now_ms,
        });
    }
    response.headers_mut().insert(request_id::REQUEST_ID_HEADER, request_id);
    response
}

impl Ingress {
    /// Whether requests from this address are accepted. An unknown address is never on an allowlist: a host application
    /// that does not provide addresses cannot use one.
    fn allows(&self, address: Option<IpAddr>) -> bool {
        match (&self.allowlist, address) {
            (None, _) => true,
            (Some(allowlist), Some(address)) => allowlist.contains(address),
            (Some(_), None) => false,
        }
    }
}
