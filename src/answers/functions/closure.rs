//! A closure as a function.

use std::future::Future;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::super::{Called, Function, FunctionContext};

#[async_trait]
impl<F, R> Function for F
where
    F: Fn(Map<String, Value>, FunctionContext) -> R + Send + Sync,
    R: Future<Output = Called> + Send,
{
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> Called {
        let called = self(arguments.clone(), context.clone());
        called.await
    }
}
