//! Building blocks without a word about webhooks: time, ids, secrets, stopping, spawning.

pub mod chance;
pub mod clock;
pub mod histogram;
pub mod id;
pub mod networks;
pub mod overwrite;
pub mod secret;
pub mod supervise;
