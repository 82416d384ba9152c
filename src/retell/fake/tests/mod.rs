//! Tests of the fake through HTTP. Each rule has a test whose comment names the source of the rule.

mod access;
mod drafts;
mod faults;
mod lists;
mod numbers;
mod play;
mod reads;
mod support;
mod versions;
