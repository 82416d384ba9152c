//! Checks the files of the store, and whether a running receiver uses them.

use serde_json::Value;

use crate::base::supervise::{Supervisor, run_blocking};
use crate::config::StorageUrl;
use crate::operations::receiver::find_other_receiver;
use crate::operations::text::format_bytes;
use crate::operations::{Progress, ProgressCallback, run_blocking_with_progress};
use crate::storage::{
    self, Duty, FindingSeverity, InspectionDepth, Role, StoreError, StoreFile, StoreFinding, StoreInspection,
};
use crate::view::{DoctorFinding, ReceiverStatusView};

const CHECK: &str = "store files";

/// Inspects the store. With [`InspectionDepth::Full`] every file is listed too.
pub(super) async fn check_store_files(
    url: &StorageUrl,
    depth: InspectionDepth,
    progress: ProgressCallback<'_>,
) -> Vec<DoctorFinding> {
    let inspection = match inspect(url, depth, progress).await {
        Ok(inspection) => inspection,
        Err(error) => return vec![DoctorFinding::problem(CHECK, error.to_string())],
    };
    let mut findings: Vec<_> = inspection.findings.iter().map(finding_view).collect();
    if findings.is_empty() {
        findings.push(DoctorFinding::ok(CHECK, summary(&inspection, depth)));
    }
    if depth == InspectionDepth::Full {
        findings.extend(inspection.files.iter().map(file_view));
    }
    findings
}

/// Inspects on another thread and passes its progress on.
async fn inspect(
    url: &StorageUrl,
    depth: InspectionDepth,
    progress: ProgressCallback<'_>,
) -> Result<StoreInspection, StoreError> {
    let url = url.clone();
    let inspected = run_blocking_with_progress(progress, move |report| {
        storage::inspect(&url, depth, &mut |step, done, total| report(Progress { step, done, total }))
    });
    inspected.await.unwrap_or_else(|| Err(StoreError::unavailable("the process is shutting down")))
}

fn summary(inspection: &StoreInspection, depth: InspectionDepth) -> String {
    match (inspection.files.len(), depth) {
        (0, _) => "none yet".to_owned(),
        (files, InspectionDepth::Quick) => format!("{files} files, which have what the database names"),
        (files, InspectionDepth::Full) => {
            format!(
                "{files} files; the databases are in order, and {} bodies match their digests",
                inspection.checked_bodies
            )
        }
    }
}

fn finding_view(finding: &StoreFinding) -> DoctorFinding {
    match finding.severity {
        FindingSeverity::Warning => DoctorFinding::warning(CHECK, finding.text.clone()),
        FindingSeverity::Problem => DoctorFinding::problem(CHECK, finding.text.clone()),
    }
}

fn file_view(file: &StoreFile) -> DoctorFinding {
    DoctorFinding::ok("store file", format!("{}, {}: {}", file.path, format_bytes(file.size_bytes), file.content))
}

/// Checks what the running receiver says about itself.
pub(super) fn check_readiness(receiver: &ReceiverStatusView) -> DoctorFinding {
    const CHECK: &str = "readiness";
    let Some(response) = receiver.response.as_ref().filter(|_| !receiver.ready) else {
        return DoctorFinding::ok(CHECK, "the receiver is ready");
    };
    let checks = response.get("checks").and_then(Value::as_object).into_iter().flatten();
    let failed: Vec<String> = checks
        .filter_map(|(name, result)| Some((name, result.as_str()?)))
        .filter(|(_, result)| *result != "ok")
        .map(|(name, result)| format!("{name}: {result}"))
        .collect();
    let reason = if failed.is_empty() { "its log says why".to_owned() } else { failed.join("; ") };
    DoctorFinding::problem(CHECK, format!("the receiver at {} is not ready: {reason}", receiver.url))
}

/// Checks that the receiver that responds at `receiver_url` has this store open: it may have been replaced, or the
/// settings of the receiver may be others.
pub(super) async fn check_store_in_use(url: &StorageUrl, receiver_url: &str) -> Option<DoctorFinding> {
    let url = url.clone();
    let unlocked = run_blocking(move || storage::unlocked_files(&url)).await?;
    let files: Vec<String> = unlocked.iter().map(|path| path.display().to_string()).collect();
    (!files.is_empty()).then(|| {
        DoctorFinding::problem(
            CHECK,
            format!(
                "a receiver responds at {receiver_url}, but none has {} open: if it was replaced, restart the receiver; \
                 if that receiver has other settings, run the command in its folder",
                files.join(" and ")
            ),
        )
    })
}

/// Checks that the receiver that responds is the one that opened the store.
pub(super) async fn check_receiver(url: &StorageUrl, receiver: &ReceiverStatusView) -> Option<DoctorFinding> {
    let instance = read_instance(url).await;
    let other = find_other_receiver(receiver, instance.as_deref(), &url.location())?;
    Some(DoctorFinding::problem("receiver", other))
}

/// `None` also for a store that does not exist or cannot be read, which is another finding.
async fn read_instance(url: &StorageUrl) -> Option<String> {
    let url = url.clone();
    let open = move || storage::exists(&url).then(|| storage::open(&url, Role::Reader, &Supervisor::default()));
    let store = run_blocking(open).await??.ok()?;
    store.find_leader(Duty::Requests).await.ok()?
}
