//! Types of values: those that settings of several sections have, and those with a syntax of their own.

pub(crate) mod storage_url;
pub(in crate::config) mod string_list;
