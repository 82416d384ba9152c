//! The receipt of an erasure: what was erased and which copies remain. It contains nothing that identifies the person.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::EraseArgs;
use super::files::ErasedLines;
use crate::cli::output::{self, CliError, CliResult};
use crate::config::Settings;
use crate::storage::{ErasureCounts, EventsByHandler};

/// Kinds of handlers whose output `erase` can change; what other handlers delivered is beyond its reach.
const LOCAL_HANDLER_KINDS: [&str; 3] = ["log", "call_store", "file"];
/// Copies that exist or may exist, and that `erase` cannot reach.
const UNREACHABLE_COPIES: [&str; 4] = [
    "backups and snapshots of the store, and exports (`events export`, `tail --json`)",
    "collected standard output: journald, container logs, a log service",
    "Retell's own records of the call",
    "proxies and receivers that passed the events to this receiver",
];

pub(super) struct EraseReceipt {
    pub(super) erased: ErasureCounts,
    pub(super) erased_lines: ErasedLines,
    /// Bodies that could not be read, so that it is unknown whether they mention the person.
    pub(super) unreadable_bodies: u64,
    /// Log and handler files that could not be changed, with the error.
    pub(super) failed_files: Vec<String>,
    /// Attempts that were still running when their event was erased.
    pub(super) running_attempts: u64,
    /// Whether the write-ahead log was emptied and the body files of erased events were cleared.
    pub(super) store_files_cleared: bool,
    delivered_events: EventsByHandler,
    /// Name and kind of each configured handler.
    handler_kinds: Vec<(String, &'static str)>,
    subject_kind: &'static str,
    company: Option<String>,
    at_ms: i64,
    is_confirmed: bool,
}

impl EraseReceipt {
    pub(super) fn new(args: &EraseArgs, settings: &Settings, at_ms: i64) -> Self {
        let kinds = settings.handlers.iter().map(|handler| (handler.name.clone(), handler.kind.as_str()));
        Self {
            erased: ErasureCounts::default(),
            erased_lines: ErasedLines::default(),
            unreadable_bodies: 0,
            failed_files: Vec::new(),
            running_attempts: 0,
            store_files_cleared: false,
            delivered_events: EventsByHandler::default(),
            handler_kinds: kinds.collect(),
            subject_kind: if args.call.is_some() { "call" } else { "phone" },
            company: args.company.clone(),
            at_ms,
            is_confirmed: args.yes,
        }
    }

    pub(super) fn add_delivered_events(&mut self, delivered: EventsByHandler) {
        for (handler, seqs) in delivered {
            self.delivered_events.entry(handler).or_default().extend(seqs);
        }
    }

    /// Whether everything within reach was erased. A dry run counts as complete.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_confirmed
            || (self.store_files_cleared
                && self.running_attempts == 0
                && self.failed_files.is_empty()
                && self.unreadable_bodies == 0)
    }

    /// Handlers that delivered events to a system beyond reach: name, kind, number of events.
    fn external_handlers(&self) -> Vec<(&str, &str, usize)> {
        // A handler that was removed from the configuration has no kind any more; it may have been external.
        let kind_of = |name: &str| {
            self.handler_kinds.iter().find(|(known, _)| known == name).map_or("unknown", |(_, kind)| *kind)
        };
        let mut external = Vec::new();
        for (name, seqs) in &self.delivered_events {
            let kind = kind_of(name);
            if !LOCAL_HANDLER_KINDS.contains(&kind) {
                external.push((name.as_str(), kind, seqs.len()));
            }
        }
        external
    }

    pub(super) fn to_json(&self) -> Value {
        let at = Timestamp::from_millisecond(self.at_ms).map(|at| at.to_string()).unwrap_or_default();
        let handlers = self.external_handlers().into_iter();
        let handlers = handlers.map(|(name, kind, events)| json!({ "handler": name, "kind": kind, "events": events }));
        json!({
            "erased_at": at,
            "dry_run": !self.is_confirmed,
            "subject_kind": self.subject_kind,
            "company": self.company,
            "complete": self.is_confirmed && self.is_complete(),
            "erased": self.erased,
            "lines": self.erased_lines,
            "not_erased": {
                "running_attempts": self.running_attempts,
                "store_files_clear": self.store_files_cleared,
                "unreadable_bodies": self.unreadable_bodies,
                "failed_files": self.failed_files,
            },
            "not_reached": { "handlers": handlers.collect::<Vec<_>>(), "elsewhere": UNREACHABLE_COPIES },
        })
    }

    pub(super) fn print_text(&self) -> CliResult {
        let ErasureCounts {
            events,
            body_bytes,
            cancelled_deliveries,
            attempts,
            calls,
            rejected,
            invocations,
            appointments,
        } = self.erased;
        output::print_line(if self.is_confirmed { "erased:" } else { "to erase:" })?;
        let count = |count: u64| Some(count.to_string());
        output::print_fields(&[
            ("events", Some(format!("{events} ({} of bodies)", output::format_bytes(body_bytes)))),
            ("calls and chats", count(calls)),
            ("deliveries cancelled", count(cancelled_deliveries)),
            ("attempts", count(attempts)),
            ("rejected requests", count(rejected)),
            ("function invocations", count(invocations)),
            ("appointments", count(appointments)),
            ("log lines", count(self.erased_lines.log_lines)),
            ("file handler lines", count(self.erased_lines.file_lines)),
        ])?;
        self.problems().iter().try_for_each(|problem| output::print_line(format!("NOT ERASED: {problem}")))?;
        output::print_line("not reached:")?;
        for (name, kind, events) in self.external_handlers() {
            output::print_line(format!(
                "  what handler `{}` ({kind}) delivered: {events} events",
                output::sanitize(name)
            ))?;
        }
        UNREACHABLE_COPIES.iter().try_for_each(|copy| output::print_line(format!("  {copy}")))?;
        if self.is_confirmed { Ok(()) } else { output::print_line("nothing was erased; add --yes to erase it") }
    }

    fn problems(&self) -> Vec<String> {
        if !self.is_confirmed {
            return Vec::new();
        }
        let mut problems = self.failed_files.clone();
        if !self.store_files_cleared {
            problems.push(
                "a copy remains in the write-ahead log, because other processes kept reading the store: run it again"
                    .into(),
            );
        }
        if self.running_attempts > 0 {
            problems.push(format!(
                "{} attempts were still running: run it again after they have ended",
                self.running_attempts
            ));
        }
        if self.unreadable_bodies > 0 {
            problems.push(format!(
                "{} bodies could not be read, so they were not searched for the person",
                self.unreadable_bodies
            ));
        }
        problems
    }

    /// Creates the file, readable by this user only; an existing file is never overwritten.
    pub(super) fn write_to_file(&self, path: Option<&Path>) -> CliResult {
        let Some(path) = path else { return Ok(()) };
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let text = format!("{}\n", serde_json::to_string_pretty(&self.to_json())?);
        options
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| CliError::Message(format!("cannot write the receipt to {}: {error}", path.display())))
    }
}
