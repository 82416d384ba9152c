//! The manifest of a backup: what it is, and the SHA-256 of every file. Its own SHA-256 is in a second file.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{FileDigest, create_private_file, io_error, sync_folder};
use crate::operations::OperationError;
use crate::storage::backup::{CopyCounts, ErasureLogMark};

pub(super) const MANIFEST_NAME: &str = "manifest.json";
pub(super) const CHECKSUM_NAME: &str = "manifest.json.sha256";
/// A backup with a higher number was made by a newer version.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// Version of the program that made the backup.
    pub(super) version: String,
    pub(super) store_id: String,
    pub(super) taken_at_ms: i64,
    pub(super) taken_at: String,
    pub(super) finished_at: String,
    pub(super) counts: CopyCounts,
    /// Where the erasures begin that are not in the backup.
    pub(super) erasure_mark: ErasureLogMark,
    pub(super) damaged_events: Vec<String>,
    pub(super) files: Vec<FileDigest>,
}

impl Manifest {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Writes the manifest and its checksum, and syncs them.
    pub(super) fn write(&self, folder: &Path) -> Result<(), OperationError> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let checksum = format!("{}  {MANIFEST_NAME}\n", hex::encode(Sha256::digest(text.as_bytes())));
        for (name, text) in [(MANIFEST_NAME, &text), (CHECKSUM_NAME, &checksum)] {
            let path = folder.join(name);
            let written = create_private_file(&path).and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            });
            written.map_err(|error| io_error("write", &path, &error))?;
        }
        sync_folder(folder)
    }

    /// Reads the manifest of a backup, or says why it cannot be trusted.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let read = |name| {
            let path = folder.join(name);
            fs::read(&path).map_err(|error| format!("{}: {error}; is this the folder of a backup?", path.display()))
        };
        let text = read(MANIFEST_NAME)?;
        let checksum = String::from_utf8_lossy(&read(CHECKSUM_NAME)?).into_owned();
        if checksum != format!("{}  {MANIFEST_NAME}\n", hex::encode(Sha256::digest(&text))) {
            return Err(format!("{MANIFEST_NAME} does not match {CHECKSUM_NAME}: one of them is damaged"));
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| format!("{MANIFEST_NAME}: {error}"))?;
        if manifest.format != FORMAT {
            let (format, version) = (manifest.format, &manifest.version);
            return Err(format!("the backup has the format {format} of version {version}; use that version"));
        }
        Ok(manifest)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}
