//! Closures registered on the builder, as one handler.

use std::future::Future;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{Context, EventHandler, Outcome};
use crate::event::{Call, Event};

type CallClosure = Box<dyn Fn(Call, Context) -> BoxFuture<'static, Outcome> + Send + Sync>;
type EventClosure = Box<dyn Fn(Event, Context) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A handler made of closures. Events without a closure succeed immediately.
#[derive(Default)]
pub(crate) struct ClosureHandler {
    on_call_started: Option<CallClosure>,
    on_call_ended: Option<CallClosure>,
    on_call_analyzed: Option<CallClosure>,
    on_other_event: Option<EventClosure>,
}

impl ClosureHandler {
    /// Whether no closure has been registered.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.on_call_started.is_none()
            && self.on_call_ended.is_none()
            && self.on_call_analyzed.is_none()
            && self.on_other_event.is_none()
    }

    #[must_use]
    pub(crate) fn on_call_started<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.on_call_started = Some(Box::new(move |call, context| Box::pin(run(call, context))));
        self
    }

    #[must_use]
    pub(crate) fn on_call_ended<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.on_call_ended = Some(Box::new(move |call, context| Box::pin(run(call, context))));
        self
    }

    #[must_use]
    pub(crate) fn on_call_analyzed<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.on_call_analyzed = Some(Box::new(move |call, context| Box::pin(run(call, context))));
        self
    }

    /// Registers the closure for every event that has no closure of its kind.
    #[must_use]
    pub(crate) fn on_other_event<F>(mut self, run: impl Fn(Event, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.on_other_event = Some(Box::new(move |event, context| Box::pin(run(event, context))));
        self
    }
}

async fn run_call_closure(closure: Option<&CallClosure>, call: &Call, context: &Context) -> Outcome {
    match closure {
        Some(closure) => closure(call.clone(), context.clone()).await,
        None => Outcome::not_handled(),
    }
}

#[async_trait]
impl EventHandler for ClosureHandler {
    async fn call_started(&self, call: &Call, context: &Context) -> Outcome {
        run_call_closure(self.on_call_started.as_ref(), call, context).await
    }

    async fn call_ended(&self, call: &Call, context: &Context) -> Outcome {
        run_call_closure(self.on_call_ended.as_ref(), call, context).await
    }

    async fn call_analyzed(&self, call: &Call, context: &Context) -> Outcome {
        run_call_closure(self.on_call_analyzed.as_ref(), call, context).await
    }

    async fn other_event(&self, event: &Event, context: &Context) -> Outcome {
        match &self.on_other_event {
            Some(closure) => closure(event.clone(), context.clone()).await,
            None => Outcome::not_handled(),
        }
    }
}
