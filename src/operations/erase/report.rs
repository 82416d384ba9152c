//! Collects what an erasure did.

use jiff::Timestamp;

use super::files::ErasedLines;
use super::{ErasureRequest, ErasureSubject};
use crate::config::Settings;
use crate::storage::backup::BackupRecord;
use crate::storage::{ErasureCounts, EventsByHandler};
use crate::view::{
    ErasedLinesView, ErasedRowsView, ErasureSubjectKind, ErasureView, ExternalHandlerView, NotErasedView,
    NotReachedView, UnreachedBackupView,
};

/// Kinds of handlers whose output `erase` can change; what other handlers delivered is beyond its reach.
const LOCAL_HANDLER_KINDS: [&str; 3] = ["log", "call_store", "file"];
/// Copies that exist or may exist, and that `erase` cannot reach.
const UNREACHABLE_COPIES: [&str; 5] = [
    "damaged files of the store that were set aside, which are listed when the setup is checked",
    "other copies of the store and of its backups, and exports of events",
    "collected standard output: journald, container logs, a log service",
    "Retell's own records of the call",
    "proxies and receivers that passed the events to this receiver",
];

pub(super) struct ErasureReport {
    pub(super) erased: ErasureCounts,
    pub(super) erased_lines: ErasedLines,
    pub(super) unreadable_bodies: u64,
    pub(super) unsearchable_files: Vec<String>,
    pub(super) failed_files: Vec<String>,
    pub(super) running_attempts: u64,
    pub(super) store_files_cleared: bool,
    /// Why the erasure is not in the erasure log.
    pub(super) not_logged: Option<String>,
    pub(super) unreached_backups: Vec<BackupRecord>,
    delivered_events: EventsByHandler,
    /// Name and kind of each configured handler.
    handler_kinds: Vec<(String, &'static str)>,
    subject_kind: ErasureSubjectKind,
    company: Option<String>,
    at_ms: i64,
    dry_run: bool,
}

impl ErasureReport {
    pub(super) fn new(request: &ErasureRequest, settings: &Settings, at_ms: i64) -> Self {
        let kinds = settings.handlers.iter().map(|handler| (handler.name.clone(), handler.kind.as_str()));
        Self {
            erased: ErasureCounts::default(),
            erased_lines: ErasedLines::default(),
            unreadable_bodies: 0,
            unsearchable_files: Vec::new(),
            failed_files: Vec::new(),
            running_attempts: 0,
            store_files_cleared: false,
            not_logged: None,
            unreached_backups: Vec::new(),
            delivered_events: EventsByHandler::default(),
            handler_kinds: kinds.collect(),
            subject_kind: match request.subject {
                ErasureSubject::Call(_) => ErasureSubjectKind::Call,
                ErasureSubject::Phone(_) => ErasureSubjectKind::Phone,
            },
            company: request.company.clone(),
            at_ms,
            dry_run: request.dry_run,
        }
    }

    pub(super) fn add_delivered_events(&mut self, delivered: EventsByHandler) {
        for (handler, seqs) in delivered {
            self.delivered_events.entry(handler).or_default().extend(seqs);
        }
    }

    fn is_complete(&self) -> bool {
        !self.dry_run
            && self.store_files_cleared
            && self.running_attempts == 0
            && self.failed_files.is_empty()
            && self.unreadable_bodies == 0
            && self.unsearchable_files.is_empty()
            && self.not_logged.is_none()
    }

    /// Handlers that delivered events to a system beyond reach.
    fn external_handlers(&self) -> Vec<ExternalHandlerView> {
        // A handler that was removed from the configuration has no kind any more; it may have been external.
        let kind_of = |name: &str| {
            self.handler_kinds.iter().find(|(known, _)| known == name).map_or("unknown", |(_, kind)| *kind)
        };
        let mut external = Vec::new();
        for (name, seqs) in &self.delivered_events {
            let kind = kind_of(name);
            if !LOCAL_HANDLER_KINDS.contains(&kind) {
                external.push(ExternalHandlerView { handler: name.clone(), kind, events: seqs.len() });
            }
        }
        external
    }

    pub(super) fn into_view(self) -> ErasureView {
        let erased_at = Timestamp::from_millisecond(self.at_ms).map(|at| at.to_string()).unwrap_or_default();
        let complete = self.is_complete();
        let handlers = self.external_handlers();
        let backups = self.unreached_backups.into_iter().map(backup_view).collect();
        let ErasedLines { log_lines, file_lines } = self.erased_lines;
        ErasureView {
            erased_at,
            dry_run: self.dry_run,
            subject_kind: self.subject_kind,
            company: self.company,
            found: self.erased != ErasureCounts::default() || self.erased_lines != ErasedLines::default(),
            complete,
            erased: rows_view(self.erased),
            lines: ErasedLinesView { log_lines, file_lines },
            not_erased: NotErasedView {
                running_attempts: self.running_attempts,
                store_files_clear: self.store_files_cleared,
                unreadable_bodies: self.unreadable_bodies,
                unsearchable_files: self.unsearchable_files,
                failed_files: self.failed_files,
                not_logged: self.not_logged,
            },
            not_reached: NotReachedView { handlers, backups, elsewhere: &UNREACHABLE_COPIES },
        }
    }
}

fn backup_view(backup: BackupRecord) -> UnreachedBackupView {
    let taken_at = Timestamp::from_millisecond(backup.taken_at_ms).map(|at| at.to_string()).unwrap_or_default();
    UnreachedBackupView { folder: backup.folder, taken_at }
}

fn rows_view(counts: ErasureCounts) -> ErasedRowsView {
    let ErasureCounts {
        events,
        body_bytes,
        cancelled_deliveries,
        attempts,
        calls,
        rejected,
        invocations,
        appointments,
    } = counts;
    ErasedRowsView { events, body_bytes, cancelled_deliveries, attempts, calls, rejected, invocations, appointments }
}
