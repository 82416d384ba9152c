//! Types of values that settings of several sections have.

pub(in crate::config) mod string_list;
