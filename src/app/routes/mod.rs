//! The routes of a receiver: those that Retell calls, and those of the operator.

mod metric_values;
mod metrics;
mod operator;
mod public;

pub(super) use metrics::ReceiverMetrics;
pub(super) use operator::OperatorRoutes;
pub(super) use public::{Routers, webhook_router};
