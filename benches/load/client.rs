//! A minimal HTTP/1.1 client for the benchmark.
//!
//! The generator shares the cores with the server that it measures. Every microsecond it uses is missing for the
//! server and reduces the difference between two servers. A general client builds header maps, copies bodies and
//! passes requests between tasks. This client sends prepared buffers with one vectored write, and reads only the
//! status, the length and the keep-alive state of a response. It supports only what the measured servers send;
//! anything else is an error.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Path of the webhook on both servers.
pub const WEBHOOK_PATH: &str = "/api/v1/webhook/retell";

/// Limit of a response head in bytes; the servers send a few hundred.
const BUFFER_SIZE: usize = 8 * 1024;

/// One keep-alive connection with at most one request in flight.
pub struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

/// The parts of a response that the generator uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    pub keep_alive: bool,
}

impl Connection {
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; BUFFER_SIZE].into_boxed_slice();
        Ok(Self { stream, buffer })
    }

    /// Sends one request, given as consecutive pieces, and reads the response.
    pub async fn send_request(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<ResponseHead> {
        let mut unsent = pieces;
        while !unsent.is_empty() {
            match self.stream.write_vectored(unsent).await? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut unsent, written),
            }
        }
        self.read_response().await
    }

    async fn read_response(&mut self) -> Result<ResponseHead> {
        let mut filled = 0;
        loop {
            filled += self.fill_buffer(filled).await?;
            let received = &self.buffer[..filled];
            let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let (response, length) = parse_head(&received[..end + 2])?;
            self.discard_body(end + 4 + length, filled).await?;
            return Ok(response);
        }
    }

    async fn fill_buffer(&mut self, filled: usize) -> Result<usize> {
        if filled == self.buffer.len() {
            return Err(invalid_data("the head of the response is too long"));
        }
        match self.stream.read(&mut self.buffer[filled..]).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    /// Reads the rest of the response and discards it.
    async fn discard_body(&mut self, expected: usize, mut received: usize) -> Result<()> {
        while received < expected {
            received += self.fill_buffer(0).await?;
        }
        if received > expected {
            return Err(invalid_data("the response is longer than its content-length"));
        }
        Ok(())
    }
}

/// Requests `path` on a new connection and returns the status.
pub async fn get_status(port: u16, path: &str) -> Result<u16> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    let mut connection = Connection::open(port).await?;
    let response = connection.send_request(&mut [IoSlice::new(head.as_bytes())]).await?;
    Ok(response.status)
}

/// Parses a head that ends with a line break. Returns the length of the body as well.
fn parse_head(head: &[u8]) -> Result<(ResponseHead, usize)> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix(b"HTTP/1.1 "))
        .and_then(|line| parse_number(line.get(..3)?))
        .and_then(|status| u16::try_from(status).ok())
        .ok_or_else(|| invalid_data("not an HTTP/1.1 response"))?;
    let mut length = None;
    let mut keep_alive = true;
    for line in lines {
        if let Some(value) = header_value(line, b"content-length:") {
            length = parse_number(value);
        } else if let Some(value) = header_value(line, b"connection:") {
            keep_alive = !value.eq_ignore_ascii_case(b"close");
        }
    }
    let length = match status {
        204 | 304 => 0,
        _ => length.ok_or_else(|| invalid_data("a response without a valid content-length"))?,
    };
    Ok((ResponseHead { status, keep_alive }, length))
}

/// The value of `line` if it is the header `name`. The name includes the colon.
fn header_value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn parse_number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn invalid_data(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}
