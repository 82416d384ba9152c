//! Calls and chats, and what belongs to them.

pub(super) mod analysis;
pub(super) mod call;
pub(super) mod chat;
pub(super) mod disconnection_reason;
pub(super) mod metrics;
