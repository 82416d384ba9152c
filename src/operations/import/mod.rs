//! Stores the events of an export.
//!
//! Ids ascend in the order of the store, except among requests that arrived at the same time: the index on ids is
//! appended to, and time filters rely on the order. So an event keeps its id only if that id is newer than every id
//! that was in the store before, which holds for all events when the store was empty. Other events get a new id.

mod decoder;
mod lines;

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::task::unconstrained;

use self::decoder::{ImportCompany, ImportDecoder, ImportRecord};
use self::lines::LineStream;
use super::signatures::company_keys;
use super::{OperationError, Principal};
use crate::base::clock::Clock;
use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::security::signature::Verifier;
use crate::storage::{AppendOutcome, CompanyStore, EventFilter, Journal, Store, StoreError};
use crate::view::{ImportLineErrorView, ImportView};

/// Limits of events that are being stored at the same time; these share commits.
const MAX_IN_FLIGHT_EVENTS: usize = 512;
const MAX_IN_FLIGHT_BYTES: usize = 32 * 1024 * 1024;
/// Room in a line for the fields other than the encoded body.
const LINE_OVERHEAD_BYTES: usize = 64 * 1024;
/// The newest id is among this many events that were committed last, since ids are out of order only among concurrent
/// requests, and these are fewer.
const NEWEST_ID_WINDOW: usize = 4_096;
/// Bad lines that are reported one by one; the others are only counted.
pub(crate) const MAX_REPORTED_LINES: usize = 50;

/// What an import reports while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportProgress {
    /// How much of the input has been read, in bytes.
    Read(u64),
    /// An event is stored under another id than that of the export.
    OtherId { in_file: EventId, in_store: EventId },
}

/// Receives the progress of an import.
pub(crate) type ImportCallback<'a> = &'a mut (dyn FnMut(ImportProgress) + Send);

/// Stores the events of `input`, lines as an export has them. Events that are stored already count as duplicates.
/// `open_store` opens the store without another writer; the supervisor that it gets ends the threads of the store.
///
/// # Errors
/// The store cannot be opened, for example because a receiver is running on it. [`OperationError::Stopped`] when the
/// input cannot be read or an event cannot be stored. Bad lines are skipped and reported in the result.
pub(crate) async fn import_events(
    settings: &Settings,
    clock: &Clock,
    principal: &Principal,
    open_store: impl FnOnce(&Supervisor) -> Result<Arc<dyn Store>, StoreError>,
    input: impl Read + Send + 'static,
    progress: ImportCallback<'_>,
) -> Result<ImportView, OperationError> {
    let supervisor = Supervisor::default();
    let store = open_store(&supervisor)
        .map_err(|error| OperationError::InvalidInput(format!("import needs the store for itself: {error}")))?;
    tracing::info!(%principal, "importing events");
    let result = import_lines(&*store, settings, clock, input, progress).await;
    supervisor.stop();
    store.close().await?;
    result
}

async fn import_lines<S>(
    store: &S,
    settings: &Settings,
    clock: &Clock,
    input: impl Read + Send + 'static,
    progress: ImportCallback<'_>,
) -> Result<ImportView, OperationError>
where
    S: Journal + CompanyStore + ?Sized,
{
    let latest = store.list_events(EventFilter { limit: Some(NEWEST_ID_WINDOW), ..EventFilter::default() }).await?;
    let newest = latest.iter().map(|event| event.id).max();
    let companies = load_companies(settings, store).await?;
    // Base64 encodes three bytes as four characters.
    let max_line_bytes = settings.server.body_limit_bytes.div_ceil(3) * 4 + LINE_OVERHEAD_BYTES;
    let mut run = ImportRun { result: ImportView::default(), progress };
    let decoder = ImportDecoder::new(clock.clone(), newest, companies);
    run.store_lines(LineStream::new(input, max_line_bytes), decoder, store).await?;
    Ok(run.result)
}

struct ImportRun<'a> {
    result: ImportView,
    progress: ImportCallback<'a>,
}

impl ImportRun<'_> {
    async fn store_lines<S: Journal + ?Sized>(
        &mut self,
        mut lines: LineStream<impl Read + Send + 'static>,
        mut decoder: ImportDecoder,
        store: &S,
    ) -> Result<(), OperationError> {
        let mut appending = FuturesOrdered::new();
        let mut line_number = 0;
        let mut body_sizes = VecDeque::new();
        let mut bytes_in_flight = 0;
        let mut bytes_read = 0;
        loop {
            let line = lines.next().await.map_err(|error| stopped_error(line_number, &error))?;
            (line_number, bytes_read) =
                line.as_ref().map_or((line_number, bytes_read), |it| (it.number, it.end_offset));
            while !appending.is_empty()
                && (line.is_none() || appending.len() >= MAX_IN_FLIGHT_EVENTS || bytes_in_flight > MAX_IN_FLIGHT_BYTES)
            {
                bytes_in_flight -= body_sizes.pop_front().unwrap_or(0);
                if let Some(appended) = appending.next().await {
                    let (append_outcome, record) = appended?;
                    self.count_appended(append_outcome, &record);
                    (self.progress)(ImportProgress::Read(bytes_read));
                }
            }
            let record = match line.map(|line| line.content) {
                None => return Ok(()),
                Some(Err(too_long)) => Err(too_long),
                Some(Ok(line)) if line.trim_ascii().is_empty() => continue,
                Some(Ok(line)) => decoder.decode(&line),
            };
            match record {
                Ok(record) => {
                    bytes_in_flight += record.event.body.len();
                    body_sizes.push_back(record.event.body.len());
                    // `unconstrained`: tokio's cooperative budget would make some of these futures yield, and later
                    // events would reach the store before them. The order of the file must be kept.
                    appending.push_back(unconstrained(append_event(store, record, line_number)));
                }
                Err(error) => self.count_bad_line(line_number, error),
            }
        }
    }

    fn count_appended(&mut self, append_outcome: AppendOutcome, record: &ImportRecord) {
        let (in_store, is_new) = match append_outcome {
            AppendOutcome::Stored { .. } => (record.event.id, true),
            AppendOutcome::Duplicate { original_id } => (original_id, false),
        };
        let other_id = record.original_id.filter(|id| *id != in_store);
        if is_new {
            self.result.stored += 1;
            self.result.new_ids += u64::from(other_id.is_some());
        } else {
            self.result.duplicates += 1;
        }
        if let Some(in_file) = other_id {
            (self.progress)(ImportProgress::OtherId { in_file, in_store });
        }
    }

    fn count_bad_line(&mut self, line: u64, error: String) {
        self.result.bad_lines += 1;
        if self.result.line_errors.len() < MAX_REPORTED_LINES {
            self.result.line_errors.push(ImportLineErrorView { line, error });
        }
    }
}

/// The configured companies and the default company, by slug. The key of a signature can be named for configured keys.
async fn load_companies<S: CompanyStore + ?Sized>(
    settings: &Settings,
    store: &S,
) -> Result<HashMap<String, ImportCompany>, OperationError> {
    let configured = settings.companies.iter().map(|company| company.slug.to_string());
    let slugs: Vec<_> = configured.chain([DEFAULT_COMPANY_SLUG.to_owned()]).collect();
    let ids = store.get_or_create_company_ids(slugs.clone()).await?;
    let mut companies = HashMap::new();
    for (slug, id) in slugs.into_iter().zip(ids) {
        let keys = company_keys(settings, Some(&slug)).unwrap_or_default();
        let verifier = if keys.is_empty() { None } else { Some(Verifier::new(keys)) };
        companies.insert(slug, ImportCompany { id, verifier });
    }
    Ok(companies)
}

async fn append_event<S: Journal + ?Sized>(
    store: &S,
    record: ImportRecord,
    line: u64,
) -> Result<(AppendOutcome, ImportRecord), OperationError> {
    match store.append(record.event.clone()).await {
        Ok(appended) => Ok((appended, record)),
        Err(error) => Err(stopped_error(line, &error)),
    }
}

fn stopped_error(line: u64, error: &dyn std::error::Error) -> OperationError {
    OperationError::Stopped(format!(
        "import stopped at line {line}: {error}; solve this and import the same file again: events that are stored \
         already count as duplicates"
    ))
}
