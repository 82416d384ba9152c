//! A raw HTTP/1.1 client: sends exactly the given bytes, even if they are not valid HTTP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::signing::sign;

pub const WEBHOOK_PATH: &str = "/api/v1/webhook/retell";

/// Longer than any timeout of the server.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpResponse {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn is_duplicate(&self) -> bool {
        self.json()["duplicate"] == true
    }
}

/// One connection to the server.
pub struct RawClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawClient {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Closes the sending side of the connection. The response can still be read.
    pub fn shutdown_write(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends a request and reads the response; `None` when the connection ends without one.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<HttpResponse> {
        let mut bytes = request_head(method, target, headers, Some(body.len())).into_bytes();
        bytes.extend_from_slice(body);
        // A server that rejects early may close the connection before it has read everything. Its response still
        // counts.
        let _ = self.send(&bytes);
        self.read_response()
    }

    /// Reads the next response; `None` when the connection ends before it is complete.
    pub fn read_response(&mut self) -> Option<HttpResponse> {
        let end = loop {
            if let Some(at) = find_bytes(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill_buffer()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned()));
        let mut response = HttpResponse { status, headers: headers.collect(), body: Vec::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            self.fill_buffer()?;
        }
        response.body = self.buffer.drain(..length).collect();
        Some(response)
    }

    /// Whether the server closes the connection within `limit`.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn fill_buffer(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.buffer.extend_from_slice(&buffer[..read]);
                Some(())
            }
        }
    }
}

fn find_bytes(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The head of a request. Without a length it has no `Content-Length` header.
pub fn request_head(method: &str, target: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        head += &[name, ": ", value, "\r\n"].concat();
    }
    if let Some(length) = length {
        head += &["Content-Length: ", &length.to_string(), "\r\n"].concat();
    }
    head + "\r\n"
}

/// Sends a request on a new connection. Panics without a response.
pub fn request(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpResponse {
    let response = RawClient::connect(address).request(method, target, headers, body);
    response.unwrap_or_else(|| panic!("no response to {method} {target}"))
}

pub fn get(address: SocketAddr, target: &str) -> HttpResponse {
    request(address, "GET", target, &[], b"")
}

/// Posts `body` to the webhook with this signature header.
pub fn post(address: SocketAddr, body: &[u8], signature: &str) -> HttpResponse {
    post_to(address, WEBHOOK_PATH, body, signature)
}

pub fn post_to(address: SocketAddr, target: &str, body: &[u8], signature: &str) -> HttpResponse {
    let headers = [("Content-Type", "application/json"), ("X-Retell-Signature", signature)];
    request(address, "POST", target, &headers, body)
}

/// Posts `body` with a valid signature.
pub fn post_signed(address: SocketAddr, body: &[u8]) -> HttpResponse {
    post(address, body, &sign(body))
}
