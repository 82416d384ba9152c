//! Types of values: those that settings of several sections have, and those that are parsed.

pub(crate) mod address_list;
pub(in crate::config) mod clean_text;
pub(crate) mod company_slug;
pub(in crate::config) mod duration_ms;
pub(in crate::config) mod listen_address;
pub(crate) mod public_url;
pub(crate) mod storage_url;
pub(in crate::config) mod string_list;
