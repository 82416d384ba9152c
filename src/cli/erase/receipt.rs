//! What was erased and what could not be reached, without a word about whom.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Erase;
use super::files::Lines;
use crate::cli::output::{self, Done, Failure};
use crate::config::Settings;
use crate::storage::sqlite::{Erased, Outside};

/// Handlers that keep nothing but what is erased here.
const INSIDE: [&str; 3] = ["log", "call_store", "file"];
/// What no program here can reach.
const ELSEWHERE: [&str; 4] = [
    "backups and snapshots of the store, and exports (`events export`, `tail --json`)",
    "what collects standard output: journald, a container's log, a log service",
    "Retell's own records of the call",
    "streams and receivers the events went through on their way here",
];

pub(super) struct Receipt {
    pub(super) erased: Erased,
    pub(super) lines: Lines,
    /// Bodies that could not be looked into.
    pub(super) unreadable: u64,
    /// Files that could not be changed.
    pub(super) failed: Vec<String>,
    /// Attempts that had not ended when their event was erased.
    pub(super) under_way: u64,
    /// The log of the store was emptied, and the bodies overwritten.
    pub(super) emptied: bool,
    given: Outside,
    /// Kinds of the handlers in the settings, by name.
    kinds: Vec<(String, &'static str)>,
    kind: &'static str,
    company: Option<String>,
    at_ms: i64,
    done: bool,
}

impl Receipt {
    pub(super) fn new(asked: &Erase, settings: &Settings, at_ms: i64) -> Self {
        let kinds = settings.handlers.iter().map(|handler| (handler.name.clone(), handler.kind.as_str()));
        Self {
            erased: Erased::default(),
            lines: Lines::default(),
            unreadable: 0,
            failed: Vec::new(),
            under_way: 0,
            emptied: false,
            given: Outside::default(),
            kinds: kinds.collect(),
            kind: if asked.call.is_some() { "call" } else { "phone" },
            company: asked.company.clone(),
            at_ms,
            done: asked.yes,
        }
    }

    pub(super) fn note_given(&mut self, given: Outside) {
        for (handler, seqs) in given {
            self.given.entry(handler).or_default().extend(seqs);
        }
    }

    /// Whether nothing is left that could have been erased here. Looking alone is never incomplete.
    pub(super) fn is_complete(&self) -> bool {
        !self.done || (self.emptied && self.under_way == 0 && self.failed.is_empty() && self.unreadable == 0)
    }

    /// Handlers that gave the events to something beyond reach: name, kind, how many.
    fn outside(&self) -> Vec<(&str, &str, usize)> {
        let kind = |name: &str| self.kinds.iter().find(|(known, _)| known == name).map_or("unknown", |(_, kind)| *kind);
        let given = self.given.iter().map(|(name, seqs)| (name.as_str(), kind(name), seqs.len()));
        given.filter(|(_, kind, _)| !INSIDE.contains(kind)).collect()
    }

    pub(super) fn json(&self) -> Value {
        let at = Timestamp::from_millisecond(self.at_ms).map(|at| at.to_string()).unwrap_or_default();
        let handlers = self.outside().into_iter();
        let handlers = handlers.map(|(name, kind, events)| json!({ "handler": name, "kind": kind, "events": events }));
        json!({
            "erased_at": at,
            "dry_run": !self.done,
            "kind": self.kind,
            "company": self.company,
            "complete": self.done && self.is_complete(),
            "erased": self.erased,
            "lines": self.lines,
            "not_erased": {
                "attempts_under_way": self.under_way,
                "store_files_clear": self.emptied,
                "unreadable_bodies": self.unreadable,
                "files": self.failed,
            },
            "not_reached": { "handlers": handlers.collect::<Vec<_>>(), "elsewhere": ELSEWHERE },
        })
    }

    pub(super) fn text(&self) -> Done {
        let Erased { events, body_bytes, cancelled_deliveries, attempts, calls, rejected, invocations, appointments } =
            self.erased;
        output::line(if self.done { "erased:" } else { "there is to be erased:" })?;
        let count = |count: u64| Some(count.to_string());
        output::fields(&[
            ("events", Some(format!("{events} ({} of bodies)", output::size(body_bytes)))),
            ("calls and chats", count(calls)),
            ("deliveries cancelled", count(cancelled_deliveries)),
            ("attempts", count(attempts)),
            ("refused requests", count(rejected)),
            ("function calls", count(invocations)),
            ("appointments", count(appointments)),
            ("log lines", count(self.lines.log_lines)),
            ("lines of file handlers", count(self.lines.file_lines)),
        ])?;
        self.problems().iter().try_for_each(|problem| output::line(format!("NOT ERASED: {problem}")))?;
        output::line("not reached:")?;
        for (name, kind, events) in self.outside() {
            output::line(format!("  what handler `{}` ({kind}) was given: {events} events", output::plain(name)))?;
        }
        ELSEWHERE.iter().try_for_each(|what| output::line(format!("  {what}")))?;
        if self.done { Ok(()) } else { output::line("nothing was erased; the same with --yes does it") }
    }

    fn problems(&self) -> Vec<String> {
        if !self.done {
            return Vec::new();
        }
        let mut problems = self.failed.clone();
        if !self.emptied {
            problems.push(
                "a copy is left in the store's log, since somebody reads the store all the time: run it again".into(),
            );
        }
        if self.under_way > 0 {
            problems.push(format!("{} attempts had not ended: run it again when they have", self.under_way));
        }
        if self.unreadable > 0 {
            problems.push(format!("{} bodies could not be read and so not be looked into", self.unreadable));
        }
        problems
    }

    /// Written once, private to this user.
    pub(super) fn write(&self, path: Option<&Path>) -> Done {
        let Some(path) = path else { return Ok(()) };
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let text = format!("{}\n", serde_json::to_string_pretty(&self.json())?);
        options
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::Because(format!("cannot write the receipt to {}: {error}", path.display())))
    }
}
