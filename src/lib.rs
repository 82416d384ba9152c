//! placeholder
#![allow(missing_docs)]
pub mod base;
pub mod config;
pub mod security;
pub mod storage;
