//! What was erased and what could not be reached, without a word about whom.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::EraseArgs;
use super::files::ErasedLines;
use crate::cli::output::{self, CliError, CliResult};
use crate::config::Settings;
use crate::storage::sqlite::{ErasureCounts, EventsByHandler};

/// Handlers that keep nothing but what is erased here.
const LOCAL_HANDLER_KINDS: [&str; 3] = ["log", "call_store", "file"];
/// What no program here can reach.
const UNREACHABLE_COPIES: [&str; 4] = [
    "backups and snapshots of the store, and exports (`events export`, `tail --json`)",
    "what collects standard output: journald, a container's log, a log service",
    "Retell's own records of the call",
    "streams and receivers the events went through on their way here",
];

pub(super) struct EraseReceipt {
    pub(super) erased: ErasureCounts,
    pub(super) erased_lines: ErasedLines,
    /// Bodies that could not be looked into.
    pub(super) unreadable_bodies: u64,
    /// Files that could not be changed.
    pub(super) failed_files: Vec<String>,
    /// Attempts that had not ended when their event was erased.
    pub(super) running_attempts: u64,
    /// The log of the store was emptied, and the bodies overwritten.
    pub(super) store_files_cleared: bool,
    delivered_events: EventsByHandler,
    /// Kinds of the handlers in the settings, by name.
    handler_kinds: Vec<(String, &'static str)>,
    subject_kind: &'static str,
    company: Option<String>,
    at_ms: i64,
    is_confirmed: bool,
}

impl EraseReceipt {
    pub(super) fn new(asked: &EraseArgs, settings: &Settings, at_ms: i64) -> Self {
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
            subject_kind: if asked.call.is_some() { "call" } else { "phone" },
            company: asked.company.clone(),
            at_ms,
            is_confirmed: asked.yes,
        }
    }

    pub(super) fn add_delivered_events(&mut self, given: EventsByHandler) {
        for (handler, seqs) in given {
            self.delivered_events.entry(handler).or_default().extend(seqs);
        }
    }

    /// Whether nothing is left that could have been erased here. Looking alone is never incomplete.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_confirmed
            || (self.store_files_cleared
                && self.running_attempts == 0
                && self.failed_files.is_empty()
                && self.unreadable_bodies == 0)
    }

    /// Handlers that gave the events to something beyond reach: name, kind, how many.
    fn external_handlers(&self) -> Vec<(&str, &str, usize)> {
        let kind = |name: &str| {
            self.handler_kinds.iter().find(|(known, _)| known == name).map_or("unknown", |(_, kind)| *kind)
        };
        let given = self.delivered_events.iter().map(|(name, seqs)| (name.as_str(), kind(name), seqs.len()));
        given.filter(|(_, kind, _)| !LOCAL_HANDLER_KINDS.contains(kind)).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        let at = Timestamp::from_millisecond(self.at_ms).map(|at| at.to_string()).unwrap_or_default();
        let handlers = self.external_handlers().into_iter();
        let handlers = handlers.map(|(name, kind, events)| json!({ "handler": name, "kind": kind, "events": events }));
        json!({
            "erased_at": at,
            "dry_run": !self.is_confirmed,
            "kind": self.subject_kind,
            "company": self.company,
            "complete": self.is_confirmed && self.is_complete(),
            "erased": self.erased,
            "lines": self.erased_lines,
            "not_erased": {
                "attempts_under_way": self.running_attempts,
                "store_files_clear": self.store_files_cleared,
                "unreadable_bodies": self.unreadable_bodies,
                "files": self.failed_files,
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
        output::print_line(if self.is_confirmed { "erased:" } else { "there is to be erased:" })?;
        let count = |count: u64| Some(count.to_string());
        output::print_fields(&[
            ("events", Some(format!("{events} ({} of bodies)", output::format_bytes(body_bytes)))),
            ("calls and chats", count(calls)),
            ("deliveries cancelled", count(cancelled_deliveries)),
            ("attempts", count(attempts)),
            ("refused requests", count(rejected)),
            ("function calls", count(invocations)),
            ("appointments", count(appointments)),
            ("log lines", count(self.erased_lines.log_lines)),
            ("lines of file handlers", count(self.erased_lines.file_lines)),
        ])?;
        self.problems().iter().try_for_each(|problem| output::print_line(format!("NOT ERASED: {problem}")))?;
        output::print_line("not reached:")?;
        for (name, kind, events) in self.external_handlers() {
            output::print_line(format!(
                "  what handler `{}` ({kind}) was given: {events} events",
                output::sanitize(name)
            ))?;
        }
        UNREACHABLE_COPIES.iter().try_for_each(|what| output::print_line(format!("  {what}")))?;
        if self.is_confirmed { Ok(()) } else { output::print_line("nothing was erased; the same with --yes does it") }
    }

    fn problems(&self) -> Vec<String> {
        if !self.is_confirmed {
            return Vec::new();
        }
        let mut problems = self.failed_files.clone();
        if !self.store_files_cleared {
            problems.push(
                "a copy is left in the store's log, since somebody reads the store all the time: run it again".into(),
            );
        }
        if self.running_attempts > 0 {
            problems.push(format!("{} attempts had not ended: run it again when they have", self.running_attempts));
        }
        if self.unreadable_bodies > 0 {
            problems.push(format!("{} bodies could not be read and so not be looked into", self.unreadable_bodies));
        }
        problems
    }

    /// Written once, private to this user.
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
