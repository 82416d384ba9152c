//! Finds the stored event with an identity: recent keys in memory, an index written behind intake, and a filter in
//! front of it.

pub(in crate::storage::sqlite) mod filter;
pub(in crate::storage::sqlite) mod index;
pub(in crate::storage::sqlite) mod recent_keys;
