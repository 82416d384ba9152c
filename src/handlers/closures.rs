//! Closures as handlers.

use std::future::Future;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{Context, EventHandler, Outcome};
use crate::event::{Call, Event};

type OnCall = Box<dyn Fn(Call, Context) -> BoxFuture<'static, Outcome> + Send + Sync>;
type OnOther = Box<dyn Fn(Event, Context) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A handler made of closures; events without one are done at once.
#[derive(Default)]
pub struct Closures {
    started: Option<OnCall>,
    ended: Option<OnCall>,
    analyzed: Option<OnCall>,
    other: Option<OnOther>,
}

impl Closures {
    /// Without any closure yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no closure in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.started.is_none() && self.ended.is_none() && self.analyzed.is_none() && self.other.is_none()
    }

    /// Runs for `call_started`.
    #[must_use]
    pub fn on_call_started<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.started = Some(Box::new(move |call, context| Box::pin(run(call, context))));
        self
    }

    /// Runs for `call_ended`.
    #[must_use]
    pub fn on_call_ended<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.ended = Some(Box::new(move |call, context| Box::pin(run(call, context))));
        self
    }

    /// Runs for `call_analyzed`.
    #[must_use]
    pub fn on_call_analyzed<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.analyzed = Some(Box::new(move |call, context| Box::pin(run(call, context))));
        self
    }

    /// Runs for every other event.
    #[must_use]
    pub fn on_other<F>(mut self, run: impl Fn(Event, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.other = Some(Box::new(move |event, context| Box::pin(run(event, context))));
        self
    }
}

async fn run(closure: Option<&OnCall>, call: &Call, context: &Context) -> Outcome {
    match closure {
        Some(closure) => closure(call.clone(), context.clone()).await,
        None => Outcome::Done,
    }
}

#[async_trait]
impl EventHandler for Closures {
    async fn call_started(&self, call: &Call, context: &Context) -> Outcome {
        run(self.started.as_ref(), call, context).await
    }

    async fn call_ended(&self, call: &Call, context: &Context) -> Outcome {
        run(self.ended.as_ref(), call, context).await
    }

    async fn call_analyzed(&self, call: &Call, context: &Context) -> Outcome {
        run(self.analyzed.as_ref(), call, context).await
    }

    async fn other(&self, event: &Event, context: &Context) -> Outcome {
        match &self.other {
            Some(closure) => closure(event.clone(), context.clone()).await,
            None => Outcome::Done,
        }
    }
}
