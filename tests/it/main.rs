//! Integration tests: the program over real sockets, and the library as an application uses it.
//!
//! Every test runs in a separate folder and on a free port of 127.0.0.1, and stops everything that it starts.
#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "a failing test panics; tests may read the clock, start threads and print"
)]

mod support;

mod alarms;
mod api_docs;
mod appointment_functions;
mod appointments;
mod architecture;
mod backup;
mod bad_input;
mod body_files;
mod calls_stats;
mod cli;
mod companies;
mod compressed_bodies;
mod config_command;
mod connection_limits;
mod crash;
mod crash_during_dispatch;
mod deceptive_text;
mod describe;
mod dispatch;
mod doctor;
mod documentation;
mod embedding;
mod erase;
mod events;
mod examples;
mod faults;
mod forward;
mod functions;
mod handlers;
mod import;
mod inbound;
mod intake;
mod lists;
mod load;
mod logs;
mod metrics;
mod public_api;
mod rebuild_stats;
mod refusal_floods;
mod rejected;
mod replay;
mod request_layers;
mod retention;
mod routes;
mod secrets;
mod shutdown;
mod signature;
mod simulate;
mod slack;
mod status;
mod store_files;
mod tail;
