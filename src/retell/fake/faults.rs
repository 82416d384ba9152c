//! Faults that tests switch on, by the beginning of the path.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::answer;
use super::request::ReceivedRequest;

/// The cursor of every page while [`Fault::RepeatedCursor`] applies.
pub(crate) const REPEATED_CURSOR: &str = "7265706561746564";

/// How the fake misbehaves. Several faults may apply to one request; they take effect in the order of their injection.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The request is executed after this time.
    Delay(Duration),
    /// The request is executed, but the connection closes in the middle of the answer.
    Truncated,
    /// The request is not executed and gets this status, with `Retry-After` if there is a value.
    Status(u16, Option<&'static str>),
    /// The request is executed, but gets this status, as from a proxy that lost the answer.
    StatusAfterEffect(u16),
    /// The request is executed; its answer is HTML with the content type of JSON.
    NotJson,
    /// The request is executed; its answer is a JSON document of another shape.
    WrongShape,
    /// The request is executed; its answer has this number of bytes of valid JSON.
    HugeBody(usize),
    /// Every page of a list is the first one, says that there are more, and has the same cursor.
    RepeatedCursor,
}

/// The numbers of requests above which the fake answers 429. Retell does not publish its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateLimit {
    /// Number of requests within any second.
    pub(crate) per_second: Option<usize>,
    /// Number of requests at the same time.
    pub(crate) at_once: Option<u64>,
    /// Value of `Retry-After`, which Retell does not document.
    pub(crate) retry_after: Option<&'static str>,
}

#[derive(Default)]
pub(super) struct FaultPlan {
    faults: Vec<PlannedFault>,
    rate_limit: Option<RateLimit>,
    /// Times of the requests in the last second that were not refused.
    recent_ms: VecDeque<i64>,
}

struct PlannedFault {
    path_prefix: String,
    fault: Fault,
    /// Number of requests that are left; `None` is unlimited.
    remaining: Option<u32>,
}

impl FaultPlan {
    pub(super) fn add(&mut self, path_prefix: &str, fault: Fault, times: Option<u32>) {
        self.faults.push(PlannedFault { path_prefix: path_prefix.to_owned(), fault, remaining: times });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn set_rate_limit(&mut self, limit: RateLimit) {
        self.rate_limit = Some(limit);
        self.recent_ms.clear();
    }

    /// The faults of a request with `path`. Faults with a number of times are used up by it.
    pub(super) fn take(&mut self, path: &str) -> Vec<Fault> {
        let mut taken = Vec::new();
        for planned in self.faults.iter_mut().filter(|planned| path.starts_with(&planned.path_prefix)) {
            if planned.remaining == Some(0) {
                continue;
            }
            planned.remaining = planned.remaining.map(|remaining| remaining - 1);
            taken.push(planned.fault.clone());
        }
        taken
    }

    /// The 429 of a request that arrives at `now_ms` as one of `at_once` requests in flight, if it is above the limit.
    pub(super) fn rate_limit_response(&mut self, at_once: u64, now_ms: i64) -> Option<Response<Body>> {
        let limit = self.rate_limit?;
        while self.recent_ms.front().is_some_and(|at_ms| *at_ms <= now_ms - 1_000) {
            self.recent_ms.pop_front();
        }
        let is_above_rate = limit.per_second.is_some_and(|most| self.recent_ms.len() >= most);
        if is_above_rate || limit.at_once.is_some_and(|most| at_once > most) {
            return Some(status_response(429, limit.retry_after));
        }
        self.recent_ms.push_back(now_ms);
        None
    }
}

/// Answers with `status` and an error body.
pub(super) fn status_response(status: u16, retry_after: Option<&'static str>) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "status": "error", "message": status.canonical_reason().unwrap_or("error") });
    let mut response = answer::response(status, "application/json", body.to_string());
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
    }
    response
}

/// Makes a list start again at its first page.
pub(super) fn remove_cursor(request: &mut ReceivedRequest) {
    request.remove_query("pagination_key");
    if let Value::Object(mut body) = request.json()
        && body.remove("pagination_key").is_some()
    {
        request.set_json(&Value::Object(body));
    }
}

/// The answer as `fault` changes it after the request was executed.
pub(super) fn distort(fault: &Fault, response: Response<Body>, body: Vec<u8>) -> (Response<Body>, Vec<u8>) {
    let new_body = match fault {
        Fault::Delay(_) | Fault::Status(..) | Fault::Truncated => return (response, body),
        Fault::StatusAfterEffect(status) => {
            return (status_response(*status, None), b"{\"status\":\"error\"}".to_vec());
        }
        Fault::NotJson => b"<!doctype html><title>502 Bad Gateway</title>".to_vec(),
        Fault::WrongShape => br#"["unexpected",{"items":7}]"#.to_vec(),
        Fault::HugeBody(bytes) => huge_body(*bytes),
        Fault::RepeatedCursor => with_repeated_cursor(&body),
    };
    (response, new_body)
}

fn huge_body(bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes);
    body.extend_from_slice(b"{\"padding\":\"");
    body.resize(bytes.saturating_sub(2).max(body.len()), b'x');
    body.extend_from_slice(b"\"}");
    body
}

fn with_repeated_cursor(body: &[u8]) -> Vec<u8> {
    let mut page: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(page) = page.as_object_mut().filter(|page| page.contains_key("items")) {
        page.insert("has_more".into(), true.into());
        page.insert("pagination_key".into(), REPEATED_CURSOR.into());
    }
    page.to_string().into_bytes()
}

/// The first half of `body` with the length of the whole. The error at the end makes the server close the connection.
pub(super) fn truncate(mut response: Response<Body>, body: &[u8]) -> Response<Body> {
    /// Lets the server write the first half before the error.
    const PAUSE: Duration = Duration::from_millis(20);
    let length = body.len().max(2);
    let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
    let end = async {
        tokio::time::sleep(PAUSE).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
    };
    let start = stream::once(async move { Ok::<_, Infallible>(half) });
    let start = futures_util::StreamExt::map(start, |half| half.map_err(|never| match never {}));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = Body::from_stream(futures_util::StreamExt::chain(start, stream::once(end)));
    response
}
