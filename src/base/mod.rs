//! Building blocks that know nothing about webhooks: time, ids, secrets, address ranges, tasks and shutdown.

pub(crate) mod clock;
pub(crate) mod current;
pub(crate) mod erase_lines;
pub(crate) mod escape;
pub(crate) mod histogram;
pub(crate) mod id;
pub(crate) mod networks;
#[cfg(feature = "receiver")]
pub(crate) mod open_files;
pub(crate) mod secret;
pub(crate) mod supervise;
pub(crate) mod token_bucket;
pub(crate) mod unreadable_reason;
pub(crate) mod unrouted_reason;
