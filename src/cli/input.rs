//! Input of the commands: files and standard input.

use std::io::{Read, stdin};
use std::path::Path;

use super::output::CliError;

/// Reads the bytes of a file, or of standard input for `-`.
pub(super) fn read_file_or_stdin(file: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    bytes.map_err(|error| CliError::Message(format!("cannot read {}: {error}", file.display())))
}
