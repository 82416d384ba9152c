//! `load`: its events arrive, also through proxies; failures are reported, and another machine must be confirmed.

use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::support::signing::OTHER_KEY;
use crate::support::test_env::TestEnv;

#[test]
fn unique_signed_events_are_stored_as_counted() {
    let home = TestEnv::new();
    let server = home.start_server();
    let url = server.url();
    let closed_loop = ["load", "--to", &url, "--seconds", "1", "--connections", "1", "--size", "mix", "--json"];
    let closed = home.run_ok(&closed_loop).json();
    let accepted = closed["accepted"].as_u64().unwrap();
    assert!(accepted > 0 && closed["latency_ms"]["p50"].as_f64() <= closed["latency_ms"]["p99.9"].as_f64(), "{closed}");
    let open_loop = ["load", "--to", &url, "--seconds", "2", "--connections", "8", "--rate", "20", "--json"];
    let open = home.run_ok(&open_loop).json();
    assert_eq!((open["accepted"].as_u64(), open["not_sent"].as_u64()), (Some(40), Some(0)), "{open}");
    let events = home.export_events();
    assert_eq!(events.len() as u64, accepted + 40, "no event is a duplicate");
    assert!(events.iter().all(|event| event.call_id().unwrap().starts_with("call_test_")));
}

#[test]
fn rejected_requests_are_reported_with_exit_code_1() {
    let home = TestEnv::new();
    let server = home.start_server();
    let stranger = TestEnv::without_key().with_env("RETELL_API_KEY", OTHER_KEY);
    let ran = stranger.run(&["load", "--to", &server.url(), "--seconds", "1", "--connections", "1"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("FAILED") && ran.stdout.contains("status 401"), "{ran:?}");
    let ran = home.run(&["load", "--to", "http://127.0.0.1:1", "--seconds", "1", "--connections", "1"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("no connection"), "{ran:?}");
}

#[test]
fn load_on_another_machine_must_be_confirmed() {
    let home = TestEnv::new();
    for more in [&[][..], &["--yes-really"], &["--i-own-this-server"]] {
        let ran = home.run(&[&["load", "--to", "http://192.0.2.1"], more].concat());
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("--yes-really --i-own-this-server"), "{ran:?}");
    }
    assert_eq!(home.run(&["load", "--to", "ftp://127.0.0.1"]).exit_code, Some(1));
    assert_eq!(home.run(&["load", "--rate", "0"]).exit_code, Some(2));
}

/// A proxy in front of the receiver may send its responses in chunks, and close connections.
#[test]
fn responses_in_chunks_and_closed_connections_are_understood() {
    let proxy = ChunkedServer::start(None);
    let home = TestEnv::new();
    let url = format!("http://user:secret%21@127.0.0.1:{}", proxy.port);
    let report = home.run_ok(&["load", "--to", &url, "--seconds", "2", "--rate", "50", "--json"]).json();
    assert_eq!(
        (report["accepted"].as_u64(), report["failed"].as_object().map(serde_json::Map::len)),
        (Some(100), Some(0))
    );
    let head = proxy.first_head.lock().unwrap().to_ascii_lowercase();
    // The user name and password of the URL, in Base64.
    assert!(
        head.contains("authorization: basic dxnlcjpzzwnyzxqh") && head.contains("x-retell-signature: v="),
        "{head}"
    );
}

#[test]
fn load_works_over_https() {
    let home = TestEnv::new();
    let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
    if !openssl.output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: `openssl` cannot make a certificate here");
    }
    let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config =
        config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(&key).unwrap()).unwrap();
    let proxy = ChunkedServer::start(Some(TlsAcceptor::from(Arc::new(config))));
    let url = format!("https://localhost:{}", proxy.port);
    let args = ["load", "--to", &url, "--seconds", "1", "--rate", "20", "--size", "large", "--json"];
    let untrusted = home.run(&args);
    assert!(untrusted.exit_code == Some(1) && untrusted.json()["failed"]["no connection"] == 20, "{untrusted:?}");
    let home = home.with_env("SSL_CERT_FILE", certificate.to_str().unwrap());
    let report = home.run_ok(&args).json();
    assert_eq!(report["accepted"], 20, "{report}");
}

/// Answers every request with 200 in chunks, and closes every third connection after its response.
struct ChunkedServer {
    port: u16,
    first_head: Arc<Mutex<String>>,
    _runtime: tokio::runtime::Runtime,
}

impl ChunkedServer {
    fn start(tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let first_head: Arc<Mutex<String>> = Arc::default();
        let seen = Arc::clone(&first_head);
        runtime.spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                let (tls, seen, closes) = (tls.clone(), Arc::clone(&seen), number % 3 == 0);
                tokio::spawn(async move {
                    match tls {
                        None => answer_in_chunks(stream, &seen, closes).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer_in_chunks(stream, &seen, closes).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { port, first_head, _runtime: runtime }
    }
}

async fn answer_in_chunks(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    first_head: &Mutex<String>,
    closes: bool,
) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            stream.read_buf(&mut received).await.ok().filter(|count| *count > 0)?;
        };
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let request_end = end + length.unwrap_or(0_usize);
        while received.len() < request_end {
            stream.read_buf(&mut received).await.ok().filter(|count| *count > 0)?;
        }
        received.drain(..request_end);
        if first_head.lock().unwrap().is_empty() {
            *first_head.lock().unwrap() = head;
        }
        let connection = if closes { "close" } else { "keep-alive" };
        let response = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: {connection}\r\n\r\n\
             5\r\n{{\"rec\r\na;x=y\r\neived\":1 }}\r\n0\r\ntrailer: x\r\n\r\n"
        );
        stream.write_all(response.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        if closes {
            return None;
        }
    }
}
