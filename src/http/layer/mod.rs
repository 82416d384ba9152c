//! The layers of the webhook routes. Order from the outside in: [`ingress_middleware`], then [`SignatureLayer`].

mod access_log;
mod body;
mod client_addr;
mod debug_log;
mod ingress;
mod refusal_log_limit;
mod rejected;
mod request_id;
mod signature;

pub(crate) use access_log::AccessLogFields;
pub(crate) use ingress::{ForbiddenRequest, Ingress, ingress_middleware};
pub(crate) use refusal_log_limit::RefusalLogLimit;
pub(crate) use rejected::UnreadBody;
pub use rejected::{SignatureRejection, UnreadableRequest};
pub use signature::SignatureLayer;
