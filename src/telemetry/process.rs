//! Resource usage of this process.

/// Memory and open files of this process. Linux only; `None` on other systems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStats {
    /// Resident memory in bytes (`VmRSS`).
    pub resident_bytes: Option<u64>,
    /// Number of open files, including sockets.
    pub open_fds: Option<u64>,
}

impl ProcessStats {
    /// Reads the current values from `/proc`, which does not access the disk.
    #[must_use]
    pub fn read() -> Self {
        if !cfg!(target_os = "linux") {
            return Self::default();
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Self { resident_bytes: parse_resident_bytes(&status), open_fds: open }
    }
}

/// Parses the line `VmRSS:     51234 kB`.
fn parse_resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_its_line() {
        assert_eq!(parse_resident_bytes("Name:\tx\nVmRSS:\t   51234 kB\n"), Some(52_463_616));
        assert_eq!(parse_resident_bytes("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files() {
        let used = ProcessStats::read();
        assert!(used.resident_bytes.unwrap() > 1_000_000 && used.open_fds.unwrap() > 2);
    }
}
