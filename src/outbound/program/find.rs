//! Finds the executable of a program.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::config::ProgramSearchPath;

/// A name with a slash is a path, relative to the working directory; any other name is searched in PATH.
pub(crate) fn find_program(name: &str, path: &ProgramSearchPath) -> Result<PathBuf, String> {
    if name.contains('/') {
        let program = absolute(Path::new(name));
        return match program.metadata() {
            Ok(metadata) if is_executable(&metadata) => Ok(program),
            Ok(_) => Err(format!("{} is not executable; run chmod +x on it", program.display())),
            Err(error) => Err(format!("{}: {error}; set the full path of the program", program.display())),
        };
    }
    for directory in path.directories() {
        let program = absolute(&directory).join(name);
        if program.metadata().is_ok_and(|metadata| is_executable(&metadata)) {
            return Ok(program);
        }
    }
    Err(format!("`{name}` is not in a directory of PATH; set the full path of the program"))
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
