//! The development key, with which the receiver can be tried out before an API key is configured.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::base::id::random_hex;
use crate::base::secret::Secret;

/// The name of the key file in `storage.data_dir`.
pub(crate) const DEV_KEY_FILE: &str = "dev.key";

/// Reads the development key in `folder`; `None` when there is none. Fails when the file exists but cannot be read.
pub(crate) fn read_dev_key(folder: &Path) -> io::Result<Option<Secret>> {
    match std::fs::read_to_string(folder.join(DEV_KEY_FILE)) {
        Ok(text) => Ok(Some(Secret::new(text.trim())).filter(|key| !key.expose().is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the development key in `folder`, or creates it (mode 0600), and the folder (mode 0700). It is kept, so
/// that a restart does not invalidate signatures made with it.
pub(crate) fn read_or_create_dev_key(folder: &Path) -> io::Result<Secret> {
    if let Some(key) = read_dev_key(folder)? {
        return Ok(key);
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    let key = format!("key_dev_{}", random_hex());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(folder.join(DEV_KEY_FILE))?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_created_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_dev_key(folder.path()).unwrap(), None);
        let key = read_or_create_dev_key(folder.path()).unwrap();
        assert_eq!(read_or_create_dev_key(folder.path()).unwrap(), key);
        assert_eq!(key.expose().len(), 40);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join(DEV_KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
