//! Hands function calls that came to the address of an older guide to the functions.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};

use crate::answers::functions::{Functions, Request};
use crate::http::company::Company;
use crate::http::{RawEvent, Verified};
use crate::intake::CallsFunctions;

pub(super) struct FunctionCalls(pub(super) Functions);

#[async_trait]
impl CallsFunctions for FunctionCalls {
    async fn call(&self, company: Arc<Company>, headers: HeaderMap, verified: Verified<RawEvent>) -> Response {
        let request = Request { method: Method::POST, name: None, headers, company, verified };
        self.0.answer(request).await.into_response()
    }
}
