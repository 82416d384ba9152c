//! Where the program is.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::config::ProgramSearchPath;

/// A name with a slash is a path, from the working folder on; any other is looked for in PATH.
pub(super) fn find_program(name: &str, path: &ProgramSearchPath) -> Result<PathBuf, String> {
    if name.contains('/') {
        let program = absolute(Path::new(name));
        return match program.metadata() {
            Ok(metadata) if is_executable(&metadata) => Ok(program),
            Ok(_) => Err(format!("{} cannot be executed; chmod +x makes a script a program", program.display())),
            Err(error) => Err(format!("{}: {error}; give the program's full path", program.display())),
        };
    }
    let candidates = path.directories().map(|folder| absolute(&folder).join(name));
    let found = candidates.into_iter().find(|program| program.metadata().is_ok_and(|found| is_executable(&found)));
    found.ok_or_else(|| format!("`{name}` is in no folder of PATH; give the program's full path"))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(metadata: &Metadata) -> bool {
    metadata.is_file()
}
