//! Bodies on disk: what a start does with files that do not fit the database, and damaged bodies.

mod damage;
mod startup;

use std::path::{Path, PathBuf};

use crate::support::bodies::event_body;
use crate::support::test_env::TestEnv;

/// An event whose body is stored in a body file.
fn large_event(kind: &str, call_id: &str) -> Vec<u8> {
    [event_body(kind, call_id), vec![b' '; 6_000]].concat()
}

fn bodies_folder(home: &TestEnv) -> PathBuf {
    home.path().join("data/retell-webhook.db-bodies")
}

/// The files of a folder with their content, by name.
fn read_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}
