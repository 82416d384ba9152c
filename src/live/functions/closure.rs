//! Lets a closure of arguments and context be a [`Function`].

use std::future::Future;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::super::{Function, FunctionContext, FunctionOutcome};

#[async_trait]
impl<F, R> Function for F
where
    F: Fn(Map<String, Value>, FunctionContext) -> R + Send + Sync,
    R: Future<Output = FunctionOutcome> + Send,
{
    async fn call(&self, arguments: &Map<String, Value>, context: &FunctionContext) -> FunctionOutcome {
        let called = self(arguments.clone(), context.clone());
        called.await
    }
}
