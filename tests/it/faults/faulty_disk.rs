//! A store on a simulated disk: syncs can fail, and the power can be cut. The model is the library
//! `tests/fixtures/faults/faults.c`, which every process of the environment loads.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::preload;
use crate::support::test_env::TestEnv;

const PAGE_BYTES: usize = 4_096;
/// The mark of a page that was written and not synced.
const DIRTY: u8 = 1;

pub struct FaultyDisk {
    state: TempDir,
    store_folder: PathBuf,
}

impl FaultyDisk {
    /// Puts the store of `home` on a simulated disk. Every process that `home` starts from then on uses it.
    pub fn attach(home: &mut TestEnv) -> Self {
        let store_folder = home.path().join("data");
        fs::create_dir_all(&store_folder).unwrap();
        let state = tempfile::tempdir().unwrap();
        home.set_env("LD_PRELOAD", preload::library("faults").to_str().unwrap());
        home.set_env("FAULTS_FOLDER", store_folder.to_str().unwrap());
        home.set_env("FAULTS_STATE", state.path().to_str().unwrap());
        let disk = Self { state, store_folder };
        disk.create_state();
        disk
    }

    fn create_state(&self) {
        for kind in ["content", "pages", "names", "ino"] {
            fs::create_dir_all(self.state.path().join(kind)).unwrap();
        }
        fs::write(self.state.path().join("boot_id"), retell_webhook::internals::random_hex()).unwrap();
    }

    /// Replaces the rules, see the library for their syntax. No rule: the disk works.
    pub fn set_rules(&self, rules: &[&str]) {
        let lock = File::create(self.state.path().join("lock")).unwrap();
        lock.lock().unwrap();
        fs::write(self.state.path().join("rules"), rules.join("\n")).unwrap();
    }

    /// The faults so far, one line for each.
    pub fn faults(&self) -> Vec<String> {
        let log = fs::read_to_string(self.state.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Replaces the store by what a power cut leaves of it: everything that was synced, and of the pages that were not,
    /// those that `is_written` selects. No process may be using the store.
    pub fn cut_power(&self, mut is_written: impl FnMut() -> bool) {
        let after = self.store_folder.with_extension("after-cut");
        fs::create_dir(&after).unwrap();
        let current = self.current_files();
        for (path, id) in self.durable_files() {
            let to = after.join(&path);
            fs::copy(self.state_file("content", id), &to).unwrap();
            let file = OpenOptions::new().write(true).open(&to).unwrap();
            fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            if let Some(current) = current.get(&id) {
                self.write_dirty_pages(id, current, &file, &mut is_written);
            }
        }
        fs::remove_dir_all(&self.store_folder).unwrap();
        fs::rename(&after, &self.store_folder).unwrap();
        for kind in ["content", "pages", "names", "ino"] {
            fs::remove_dir_all(self.state.path().join(kind)).unwrap();
        }
        self.create_state();
        self.set_rules(&[]);
    }

    fn state_file(&self, kind: &str, id: u64) -> PathBuf {
        self.state.path().join(kind).join(id.to_string())
    }

    /// The files whose name is on disk, by path below the store's folder. Creates their folders in the new store.
    fn durable_files(&self) -> BTreeMap<String, u64> {
        let mut folders = Vec::new();
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(self.state.path().join("names")).unwrap() {
            let entry = entry.unwrap();
            let path = entry.file_name().to_str().unwrap().replace('%', "/");
            match fs::read_to_string(entry.path()).unwrap().parse() {
                Ok(id) => drop(files.insert(path, id)),
                Err(_) => folders.push(path),
            }
        }
        let after = self.store_folder.with_extension("after-cut");
        folders.sort_unstable();
        // A file or folder is gone with the folder that it is in.
        let is_in_folder = |path: &str| path.rsplit_once('/').is_none_or(|(folder, _)| after.join(folder).is_dir());
        for folder in &folders {
            if is_in_folder(folder) {
                fs::create_dir(after.join(folder)).unwrap();
            }
        }
        files.retain(|path, _| is_in_folder(path));
        files
    }

    /// The files that exist now, by id.
    fn current_files(&self) -> BTreeMap<u64, PathBuf> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.store_folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let Ok(found) = fs::symlink_metadata(&path) else { continue };
                if found.is_dir() {
                    folders.push(path);
                } else if let Ok(id) = fs::read_to_string(self.state_file("ino", found.ino()))
                    && !path.to_str().unwrap().ends_with("-shm")
                {
                    files.insert(id.parse().unwrap(), path);
                }
            }
        }
        files
    }

    fn write_dirty_pages(&self, id: u64, current: &Path, to: &File, is_written: &mut impl FnMut() -> bool) {
        let from = File::open(current).unwrap();
        let marks = fs::read(self.state_file("pages", id)).unwrap();
        for (number, _) in (0_u64..).zip(&marks).filter(|(_, mark)| **mark == DIRTY) {
            let mut page = [0; PAGE_BYTES];
            let offset = number * PAGE_BYTES as u64;
            let length = from.read_at(&mut page, offset).unwrap();
            if length > 0 && is_written() {
                to.write_all_at(&page[..length], offset).unwrap();
            }
        }
    }
}
