//! Reads the frames of a write-ahead log as SQLite does at recovery, and continues behind the point where SQLite stops.
//!
//! Recovery ends silently at the first frame whose checksum does not match, because that is what a power cut leaves at
//! the end. A damaged frame in the middle looks the same to SQLite, and everything behind it is lost without a message. If
//! a single bit has flipped, the checksum usually says which one.

use std::io::{self, Read};

use super::checksum::{Checksum, WordOrder, word};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The lowest bit says whether checksums are computed over big-endian words.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
/// The page size of the store's databases, for a log whose header is damaged.
const DEFAULT_PAGE_BYTES: usize = 4_096;

/// What recovery will find in a log, and what it would miss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WalCheck {
    /// Bytes up to the end of the last transaction that SQLite recovers.
    pub(super) recoverable_bytes: u64,
    /// Frames behind that point, up to the last one that commits a transaction since the log started over.
    pub(super) missing_frames: u64,
    /// Transactions that end in those frames. One more or less if the damage is in the mark of a commit.
    pub(super) missing_transactions: u64,
    /// Bytes to write into the log before SQLite opens it. The other figures are those of the repaired log.
    pub(super) repairs: Vec<Repair>,
}

/// The right value of a byte in which a bit has flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repair {
    pub(super) offset: u64,
    pub(super) byte: u8,
}

/// Above this number the log was damaged in another way than by single bits.
const MAX_REPAIRS: usize = 16;

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
    let mut first_frame_header = [0; FRAME_HEADER_BYTES];
    if !read_full(&mut log, &mut first_frame_header)? {
        return Ok(WalCheck::default());
    }
    let mut repairs = Vec::new();
    if parse_header(&header).is_none()
        && let Some(at) = repair_header(&mut header, salts(&first_frame_header, 8))
    {
        repairs.push(Repair { offset: at as u64, byte: header[at] });
    }
    let mut log = first_frame_header.chain(log);
    let mut scan = FrameScan::new(&header, repairs);
    let mut frame = vec![0; FRAME_HEADER_BYTES + scan.page_bytes];
    while read_full(&mut log, &mut frame)? {
        scan.add(&mut frame);
    }
    Ok(scan.result)
}

struct FrameScan {
    page_bytes: usize,
    order: WordOrder,
    /// Two numbers that change whenever the log starts over. Frames behind the end still have those of an earlier time.
    /// `None` until the first frame if the header is damaged.
    salts: Option<u64>,
    /// Checksum up to here; `None` behind the first frame that does not match.
    checksum: Option<Checksum>,
    frames: u64,
    recoverable_frames: u64,
    commits: u64,
    recoverable_commits: u64,
    result: WalCheck,
}

impl FrameScan {
    fn new(header: &[u8; HEADER_BYTES], repairs: Vec<Repair>) -> Self {
        let parsed = parse_header(header);
        Self {
            page_bytes: parsed.as_ref().map_or(DEFAULT_PAGE_BYTES, |parsed| parsed.page_bytes),
            order: parsed.as_ref().map_or(WordOrder::Little, |parsed| parsed.order),
            salts: parsed.as_ref().map(|_| salts(header, 16)),
            checksum: parsed.map(|parsed| parsed.checksum),
            frames: 0,
            recoverable_frames: 0,
            commits: 0,
            recoverable_commits: 0,
            result: WalCheck { repairs, ..WalCheck::default() },
        }
    }

    fn add(&mut self, frame: &mut [u8]) {
        self.frames += 1;
        let frame_salts = salts(frame, 8);
        let is_current = is_nearly(frame_salts, *self.salts.get_or_insert(frame_salts));
        if let (Some(before), Some(salts)) = (self.checksum, self.salts) {
            self.checksum = self.checksum_after(before, salts, frame);
            if self.checksum.is_none() && is_current {
                self.checksum = self.repair(before, salts, frame);
            }
        }
        // Only the last frame of a transaction has the size of the database.
        let commits = is_current && word(frame, 4) != 0 && word(frame, 0) != 0;
        self.commits += u64::from(commits);
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

    /// The checksum up to the end of the frame, whether it is valid or not.
    fn add_checksum(&self, before: Checksum, frame: &[u8]) -> Checksum {
        self.order.add(self.order.add(before, &frame[..8]), &frame[FRAME_HEADER_BYTES..])
    }

    /// The checksum up to the end of the frame, if the frame is valid.
    fn checksum_after(&self, before: Checksum, current_salts: u64, frame: &[u8]) -> Option<Checksum> {
        let after = self.add_checksum(before, frame);
        (current_salts == salts(frame, 8) && after == stored_checksum(frame)).then_some(after)
    }

    /// Corrects the frame if exactly one bit of it has flipped, and returns the checksum up to its end.
    fn repair(&mut self, before: Checksum, current_salts: u64, frame: &mut [u8]) -> Option<Checksum> {
        if self.result.repairs.len() == MAX_REPAIRS {
            return None;
        }
        let (found, stored) = (self.add_checksum(before, frame), stored_checksum(frame));
        let mut summed = frame[..8].to_vec();
        summed.extend_from_slice(&frame[FRAME_HEADER_BYTES..]);
        let in_summed = self.order.bits_between(&summed, found, stored).into_iter();
        // The salts and the stored checksum are not part of the sums.
        let in_frame = in_summed.map(|(at, bit)| (if at < 8 { at } else { at - 8 + FRAME_HEADER_BYTES }, bit));
        let elsewhere = (8..FRAME_HEADER_BYTES).flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let is_valid = |(at, bit): &(usize, u32)| {
            let mut header = frame[..FRAME_HEADER_BYTES].to_vec();
            header[*at] ^= 1 << bit;
            salts(&header, 8) == current_salts && stored_checksum(&header) == found
        };
        let in_salts = salts(frame, 8) != current_salts;
        let solutions: Vec<_> = in_frame.filter(|_| !in_salts).chain(elsewhere.filter(is_valid)).collect();
        // A bit of the last word and the same bit of the checksum can be equally likely.
        let [(at, bit)] = solutions[..] else { return None };
        if !(8..FRAME_HEADER_BYTES).contains(&at) && !self.order.is_identified((at, bit)) {
            return None;
        }
        frame[at] ^= 1 << bit;
        let start = HEADER_BYTES as u64 + (self.frames - 1) * frame.len() as u64;
        self.result.repairs.push(Repair { offset: start + at as u64, byte: frame[at] });
        self.checksum_after(before, current_salts, frame)
    }
}

fn stored_checksum(frame: &[u8]) -> Checksum {
    (word(frame, 16), word(frame, 20))
}

struct WalHeader {
    page_bytes: usize,
    order: WordOrder,
    checksum: Checksum,
}

/// `None` when the header is damaged.
fn parse_header(header: &[u8]) -> Option<WalHeader> {
    let page_bytes = word(header, 8) as usize;
    let order = if word(header, 0) & 1 == 1 { WordOrder::Big } else { WordOrder::Little };
    let checksum = order.add((0, 0), &header[..24]);
    let is_valid = word(header, 0) & !1 == MAGIC
        && word(header, 4) == VERSION
        && page_bytes.is_power_of_two()
        && (512..=65_536).contains(&page_bytes)
        && checksum == (word(header, 24), word(header, 28));
    is_valid.then_some(WalHeader { page_bytes, order, checksum })
}

/// Corrects a header in which exactly one bit has flipped, and returns the place of the byte with that bit.
fn repair_header(header: &mut [u8; HEADER_BYTES], first_frame_salts: u64) -> Option<usize> {
    let flipped = |(at, bit): (usize, u32)| {
        let mut flipped = *header;
        flipped[at] ^= 1 << bit;
        flipped
    };
    let bits = (0..HEADER_BYTES).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    let is_right =
        |header: &[u8; HEADER_BYTES]| parse_header(header).is_some() && salts(header, 16) == first_frame_salts;
    let solutions: Vec<_> = bits.filter(|bit| is_right(&flipped(*bit))).collect();
    let [(at, bit)] = solutions[..] else { return None };
    header[at] ^= 1 << bit;
    Some(at)
}

/// Whether both are the same, except for a damaged bit or two. Salts of different times differ in about 16 bits.
fn is_nearly(one: u64, other: u64) -> bool {
    (one ^ other).count_ones() <= 2
}

fn salts(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
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
    fn a_flipped_bit_of_the_header_is_repaired_or_all_frames_are_missing() {
        let rows = LoggedRows::new();
        let frames = ((rows.log.len() - HEADER_BYTES) / FRAME_BYTES) as u64;
        let mut repaired = 0;
        for (at, bit) in (0..HEADER_BYTES).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut log = rows.log.clone();
            log[at] ^= 1 << bit;
            let check = check_wal(&log[..]).unwrap();
            if check.repairs.is_empty() {
                assert_eq!((check.recoverable_bytes, check.missing_frames), (0, frames), "byte {at}, bit {bit}");
            } else {
                assert_eq!(check.repairs, [Repair { offset: at as u64, byte: rows.log[at] }], "byte {at}, bit {bit}");
                assert_eq!((check.recoverable_bytes, check.missing_frames), (rows.log.len() as u64, 0));
                repaired += 1;
            }
        }
        assert!(repaired > 230, "{repaired} of 256");
    }

    #[test]
    fn a_single_flipped_bit_is_repaired() {
        let rows = LoggedRows::new();
        let in_frame = |frame: usize, at: usize| HEADER_BYTES + frame * FRAME_BYTES + at;
        // The header of the log; number, commit mark, salts and checksum of a frame; its page.
        let bytes = [3, 9, 17, 25, in_frame(2, 2), in_frame(3, 5), in_frame(5, 9), in_frame(5, 18), in_frame(9, 2_000)];
        for (index, at) in bytes.into_iter().enumerate() {
            let mut log = rows.log.clone();
            log[at] ^= 1 << (index % 8);
            let check = check_wal(&log[..]).unwrap();
            let repairs = vec![Repair { offset: at as u64, byte: rows.log[at] }];
            let expected = WalCheck { recoverable_bytes: rows.log.len() as u64, repairs, ..WalCheck::default() };
            assert_eq!(check, expected, "byte {at}");
        }
        // At the end of a page the flipped bit may as well be one of the checksum: then nothing is repaired.
        for bit in 0..8 {
            let mut log = rows.log.clone();
            let at = in_frame(3, FRAME_BYTES - 1);
            log[at] ^= 1 << bit;
            let check = check_wal(&log[..]).unwrap();
            let is_right = check.repairs == [Repair { offset: at as u64, byte: rows.log[at] }];
            assert!(is_right || check.repairs.is_empty() && check.missing_frames > 0, "bit {bit}: {check:?}");
        }
    }

    #[test]
    fn all_damage_that_loses_rows_is_found_and_counted() {
        let rows = LoggedRows::new();
        let frames = ((rows.log.len() - HEADER_BYTES) / FRAME_BYTES) as u64;
        let complete = rows.recovered_rows(&rows.log);
        assert_eq!(complete, 10);
        // Parts of the header of the log, and of the headers and pages of the first, a middle and the last frame.
        let in_frames = [0, 7, frames as usize - 1]
            .into_iter()
            .flat_map(|frame| [0, 5, 9, 17, 2_000].map(|at| HEADER_BYTES + frame * FRAME_BYTES + at));
        let bytes = [1, 9, 17, 25].into_iter().chain(in_frames);
        for (index, at) in bytes.enumerate() {
            let mut log = rows.log.clone();
            // A flipped bit in two bytes, so that it cannot be repaired.
            log[at] ^= 1 << (index % 8);
            log[at + 1] ^= 1 << (index % 7);
            let check = check_wal(&log[..]).unwrap();
            assert!(check.repairs.is_empty(), "byte {at}");
            let lost = complete - rows.recovered_rows(&log);
            // A frame whose damaged bit is in the mark of a commit may count as one more or one less.
            let uncertain = u64::from((4..8).contains(&(at.wrapping_sub(HEADER_BYTES) % FRAME_BYTES)));
            assert!(check.missing_transactions.abs_diff(lost) <= uncertain, "byte {at}: {check:?}, {lost} lost");
            let recovered_frames = check.recoverable_bytes.saturating_sub(32) / FRAME_BYTES as u64;
            assert_eq!(check.missing_frames, if lost == 0 { 0 } else { frames - recovered_frames }, "byte {at}");
        }
    }
}
