//! A server that handlers post to: keeps what it got, and answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;

use super::local::Routes;
use super::wait_until;

#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Sink {
    routes: Routes,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Sink {
    /// Answers every request with 200.
    pub fn start() -> Self {
        Self::answering(|_, _| status(200))
    }

    /// `answer` is told how many requests came before.
    pub fn answering(answer: impl Fn(usize, &Got) -> Response + Clone + Send + Sync + 'static) -> Self {
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let kept = Arc::clone(&got);
        let router = Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let one = Got { path: head.uri.to_string(), headers: head.headers, body };
            let mut kept = kept.lock().unwrap();
            let answer = answer(kept.len(), &one);
            kept.push(one);
            answer
        });
        Self { routes: Routes::serve(router), got }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.routes.address)
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits for so many requests, and returns them.
    pub fn wait_for(&self, count: usize) -> Vec<Got> {
        assert!(
            wait_until(Duration::from_secs(30), || self.got.lock().unwrap().len() >= count),
            "only {} of {count} requests came",
            self.got().len()
        );
        self.got()
    }
}

pub fn status(code: u16) -> Response {
    Response::builder().status(code).body(Body::from("said")).unwrap()
}

pub fn with_header(code: u16, name: &str, value: &str) -> Response {
    Response::builder().status(code).header(name, value).body(Body::empty()).unwrap()
}
