//! Request bodies for the tests.

use std::path::{Path, PathBuf};

/// A small event with this name and call id.
pub fn event_body(name: &str, call_id: &str) -> Vec<u8> {
    serde_json::json!({ "event": name, "call": { "call_id": call_id, "agent_id": "agent_1" } }).to_string().into()
}

/// Path of the sample payload whose file name starts with `prefix`.
pub fn sample_path(prefix: &str) -> PathBuf {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/payloads"));
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .unwrap_or_else(|| panic!("no sample payload begins with {prefix}"))
}

pub fn sample_payload(prefix: &str) -> Vec<u8> {
    std::fs::read(sample_path(prefix)).unwrap()
}

/// `bytes` as a gzip file, with one stored (uncompressed) block per 65,535 bytes, which every gzip reader accepts.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc32(bytes).to_le_bytes());
    file.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
