//! `backup`: what is in a backup, what `verify` finds, what a restore brings back and what it does not.

mod damage;
mod erasures;
mod interrupted;
mod regular;
mod restore;
mod under_load;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::test_env::TestEnv;

/// Makes a backup and returns its folder.
fn create_backup(home: &TestEnv) -> PathBuf {
    let created = home.run_ok(&["backup", "create", "--folder", "backups", "--json"]).json();
    PathBuf::from(created["folder"].as_str().unwrap())
}

/// What `backup verify` says, and whether it accepts the backup.
fn verify(home: &TestEnv, backup: &Path) -> (bool, Value) {
    let ran = home.run(&["backup", "verify", backup.to_str().unwrap(), "--json"]);
    let check = ran.json();
    assert_eq!(ran.exit_code, Some(i32::from(check["ok"] == false)), "{ran:?}");
    (check["ok"] == true, check)
}

fn restore(home: &TestEnv, backup: &Path, more: &[&str]) -> crate::support::test_env::CommandOutput {
    home.run(&[&["backup", "restore", backup.to_str().unwrap(), "--json"], more].concat())
}

/// Paths and bytes of all files in a folder and its subfolders.
fn read_all_files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(read_all_files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files
}

/// The files that contain one of the texts.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<String> {
    let contains = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    let files = read_all_files(folder).into_iter();
    let found = files.flat_map(|(path, bytes)| {
        let here = texts.iter().filter(|text| contains(&bytes, text));
        here.map(|text| format!("{text} in {}", path.display())).collect::<Vec<_>>()
    });
    found.collect()
}

/// The names in the folder of backups.
fn list_backups(home: &TestEnv) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(home.path().join("backups")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
