//! A destination server for handlers: records the requests, and responds as the test defines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;

use super::local::RouterServer;
use super::wait_until;

#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct DestinationServer {
    routes: RouterServer,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl DestinationServer {
    /// Responds to every request with status 200.
    pub fn start() -> Self {
        Self::start_with(|_, _| status_response(200))
    }

    /// Responds with the result of `respond`, which gets the number of earlier requests.
    pub fn start_with(respond: impl Fn(usize, &ReceivedRequest) -> Response + Clone + Send + Sync + 'static) -> Self {
        let received: Arc<Mutex<Vec<ReceivedRequest>>> = Arc::default();
        let requests = Arc::clone(&received);
        let router = Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let request = ReceivedRequest { path: head.uri.to_string(), headers: head.headers, body };
            let mut requests = requests.lock().unwrap();
            let response = respond(requests.len(), &request);
            requests.push(request);
            response
        });
        Self { routes: RouterServer::start(router), received }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.routes.address)
    }

    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until `count` requests have arrived, and returns all.
    pub fn wait_for(&self, count: usize) -> Vec<ReceivedRequest> {
        assert!(
            wait_until(Duration::from_secs(30), || self.received.lock().unwrap().len() >= count),
            "only {} of {count} requests arrived",
            self.received().len()
        );
        self.received()
    }
}

pub fn status_response(code: u16) -> Response {
    Response::builder().status(code).body(Body::from("said")).unwrap()
}

pub fn header_response(code: u16, name: &str, value: &str) -> Response {
    Response::builder().status(code).header(name, value).body(Body::empty()).unwrap()
}
