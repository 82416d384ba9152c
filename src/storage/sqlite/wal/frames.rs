//! Reads the frames of a write-ahead log as SQLite does at recovery, and continues behind the point where SQLite stops.
//!
//! Recovery ends silently at the first frame whose checksum does not match, because that is what a power cut leaves at
//! the end. A damaged frame in the middle looks the same to SQLite, and everything behind it is lost without a message.

use std::io::{self, Read};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The lowest bit says whether checksums are computed over big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// The page size of the store's databases, for a log whose header is damaged.
const DEFAULT_PAGE_BYTES: usize = 4_096;

/// What a log contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WalCheck {
    /// Bytes up to the end of the last transaction that SQLite recovers.
    pub(super) recoverable_bytes: u64,
    /// Frames behind that point, up to the last one that commits a transaction since the log started over.
    pub(super) missing_frames: u64,
    /// Transactions that end in those frames. One more or less if the damage is in the mark of a commit.
    pub(super) missing_transactions: u64,
}

/// Length of a log with this number of frames; an empty log has no header either.
pub(super) fn log_bytes(frames: u64, page_bytes: u64) -> u64 {
    if frames == 0 { 0 } else { HEADER_BYTES as u64 + frames * (FRAME_HEADER_BYTES as u64 + page_bytes) }
}

/// Reads a log to its end.
pub(super) fn check_wal(mut log: impl Read) -> io::Result<WalCheck> {
    let mut header = [0; HEADER_BYTES];
    // A header of zeros was never synced: a power cut has kept the length of the file only.
    if !read_full(&mut log, &mut header)? || header == [0; HEADER_BYTES] {
        return Ok(WalCheck::default());
    }
    let mut scan = FrameScan::new(&header);
    let mut frame = vec![0; FRAME_HEADER_BYTES + scan.page_bytes];
    while read_full(&mut log, &mut frame)? {
        scan.add(&frame);
    }
    Ok(scan.result)
}

struct FrameScan {
    page_bytes: usize,
    big_endian: bool,
    /// Two numbers that change whenever the log starts over. Frames behind the end still have those of an earlier time.
    /// `None` until the first frame if the header is damaged.
    salts: Option<u64>,
    /// Checksum up to here; `None` behind the first frame that does not match.
    checksum: Option<(u32, u32)>,
    frames: u64,
    recoverable_frames: u64,
    commits: u64,
    recoverable_commits: u64,
    result: WalCheck,
}

impl FrameScan {
    fn new(header: &[u8; HEADER_BYTES]) -> Self {
        let page_bytes = word(header, 8) as usize;
        let big_endian = word(header, 0) & 1 == 1;
        let checksum = add_checksum((0, 0), &header[..24], big_endian);
        let page_size_valid = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
        let is_valid =
            word(header, 0) & !1 == MAGIC & !1 && page_size_valid && checksum == (word(header, 24), word(header, 28));
        Self {
            page_bytes: if page_size_valid { page_bytes } else { DEFAULT_PAGE_BYTES },
            big_endian,
            salts: is_valid.then(|| salts(header, 16)),
            checksum: is_valid.then_some(checksum),
            frames: 0,
            recoverable_frames: 0,
            commits: 0,
            recoverable_commits: 0,
            result: WalCheck::default(),
        }
    }

    fn add(&mut self, frame: &[u8]) {
        self.frames += 1;
        let frame_salts = salts(frame, 8);
        let is_current = is_nearly(frame_salts, *self.salts.get_or_insert(frame_salts));
        // Only the last frame of a transaction has the size of the database.
        let commits = is_current && word(frame, 4) != 0 && word(frame, 0) != 0;
        self.commits += u64::from(commits);
        if let Some(before) = self.checksum {
            let after = add_checksum(before, &frame[..8], self.big_endian);
            let after = add_checksum(after, &frame[FRAME_HEADER_BYTES..], self.big_endian);
            let is_valid = self.salts == Some(frame_salts) && after == (word(frame, 16), word(frame, 20));
            self.checksum = is_valid.then_some(after);
        }
        if !commits {
            return;
        }
        if self.checksum.is_some() {
            (self.recoverable_frames, self.recoverable_commits) = (self.frames, self.commits);
            self.result.recoverable_bytes = log_bytes(self.frames, self.page_bytes as u64);
        }
        self.result.missing_frames = self.frames - self.recoverable_frames;
        self.result.missing_transactions = self.commits - self.recoverable_commits;
    }
}

/// Whether both are the same, except for a damaged bit or two. Salts of different times differ in about 16 bits.
fn is_nearly(one: u64, other: u64) -> bool {
    (one ^ other).count_ones() <= 2
}

fn salts(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// SQLite's checksum: two sums over pairs of 32-bit words.
fn add_checksum((mut one, mut two): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let read = |bytes: &[u8]| if big_endian { word(bytes, 0) } else { word(bytes, 0).swap_bytes() };
    for pair in bytes.chunks_exact(8) {
        one = one.wrapping_add(read(&pair[..4])).wrapping_add(two);
        two = two.wrapping_add(read(&pair[4..])).wrapping_add(one);
    }
    (one, two)
}

/// Fills `buffer`; `false` when the log ends before.
fn read_full(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_BYTES: usize = FRAME_HEADER_BYTES + DEFAULT_PAGE_BYTES;

    /// The log of a table after ten transactions of one row each, and the rows that SQLite reads from a copy of it.
    struct LoggedRows {
        folder: tempfile::TempDir,
        database: Vec<u8>,
        log: Vec<u8>,
    }

    impl LoggedRows {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("rows.db");
            let conn = rusqlite::Connection::open(&path).unwrap();
            conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE rows (text TEXT)").unwrap();
            conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            for number in 0..10 {
                // Some transactions have several frames.
                let text = "x".repeat(if number % 3 == 0 { 9_000 } else { 10 });
                conn.execute("INSERT INTO rows VALUES (?1)", [text]).unwrap();
            }
            let read = |suffix: &str| std::fs::read(folder.path().join(format!("rows.db{suffix}"))).unwrap();
            let (database, log) = (read(""), read("-wal"));
            Self { folder, database, log }
        }

        /// The number of rows that SQLite recovers with `log`.
        fn recovered_rows(&self, log: &[u8]) -> u64 {
            let path = self.folder.path().join("copy.db");
            let _ = std::fs::remove_file(self.folder.path().join("copy.db-shm"));
            std::fs::write(&path, &self.database).unwrap();
            std::fs::write(self.folder.path().join("copy.db-wal"), log).unwrap();
            let conn = rusqlite::Connection::open(&path).unwrap();
            conn.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap()
        }
    }

    #[test]
    fn a_complete_log_is_recoverable_to_its_end() {
        let rows = LoggedRows::new();
        let check = check_wal(&rows.log[..]).unwrap();
        assert_eq!((check.recoverable_bytes, check.missing_frames), (rows.log.len() as u64, 0));
        assert_eq!(check_wal(&[][..]).unwrap(), WalCheck::default());
        assert_eq!(check_wal(&vec![0; 100_000][..]).unwrap(), WalCheck::default());
    }

    #[test]
    fn a_torn_tail_without_a_commit_is_not_missing() {
        let rows = LoggedRows::new();
        // The last transaction has several frames; its last one is not there, or only its first bytes are.
        for cut in [FRAME_BYTES, FRAME_BYTES - 1, 4_000] {
            let check = check_wal(&rows.log[..rows.log.len() - cut]).unwrap();
            assert_eq!(check.missing_frames, 0, "{cut}");
            assert!(check.recoverable_bytes < rows.log.len() as u64 - 2 * FRAME_BYTES as u64);
        }
    }

    #[test]
    fn frames_from_before_the_log_started_over_are_not_missing() {
        let rows = LoggedRows::new();
        let mut log = rows.log.clone();
        let end = log.len();
        let mut old_frame = log[end - FRAME_BYTES..].to_vec();
        old_frame[8..16].copy_from_slice(&[7; 8]);
        log.extend(old_frame);
        assert_eq!(check_wal(&log[..]).unwrap(), WalCheck { recoverable_bytes: end as u64, ..WalCheck::default() });
    }

    #[test]
    fn every_flipped_bit_that_loses_rows_is_found_and_counted() {
        let rows = LoggedRows::new();
        let frames = ((rows.log.len() - HEADER_BYTES) / FRAME_BYTES) as u64;
        let complete = rows.recovered_rows(&rows.log);
        assert_eq!(complete, 10);
        // Every part of the headers of the file and of each frame, and some bytes of the pages.
        let in_frame = |at: usize| at.checked_sub(HEADER_BYTES).map(|at| at % FRAME_BYTES);
        let bytes =
            (0..rows.log.len()).filter(|at| in_frame(*at).is_none_or(|at| at < FRAME_HEADER_BYTES || at % 1_000 == 0));
        for (index, at) in bytes.enumerate() {
            let mut log = rows.log.clone();
            log[at] ^= 1 << (index % 8);
            let check = check_wal(&log[..]).unwrap();
            let lost = complete - rows.recovered_rows(&log);
            // A frame whose damaged bit is in the mark of a commit may count as one more or one less.
            let uncertain = u64::from(in_frame(at).is_some_and(|at| (4..8).contains(&at)));
            assert!(check.missing_transactions.abs_diff(lost) <= uncertain, "byte {at}: {check:?}, {lost} lost");
            let recovered_frames = check.recoverable_bytes.saturating_sub(32) / FRAME_BYTES as u64;
            assert_eq!(check.missing_frames, if lost == 0 { 0 } else { frames - recovered_frames }, "byte {at}");
        }
    }
}
