//! Destinations against servers on this machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{HeaderMap, HeaderValue};

use super::{Egress, PostRequest, RequestError, ResponseSummary};
use crate::config::{EgressAllowlist, EgressSettings};

/// The requests a server received: path, whether the same-origin header was present, and the body.
type ReceivedRequests = Arc<Mutex<Vec<(String, bool, Bytes)>>>;

/// Starts a server that responds to each path with `responses`.
async fn start_server(
    answers: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> (SocketAddr, ReceivedRequests) {
    let got = ReceivedRequests::default();
    let received = Arc::clone(&got);
    let router = Router::new().fallback(async move |request: Request| {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let body = axum::body::to_bytes(body, 1024).await.unwrap();
        received.lock().unwrap().push((path.clone(), head.headers.contains_key(AUTHORIZATION), body));
        answers(&path)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, got)
}

fn redirect_to(location: &str) -> Response {
    Response::builder().status(307).header("location", location).body(Body::empty()).unwrap()
}

fn ok_response() -> Response {
    Response::new(Body::from("fine"))
}

async fn post(url: &str, redirects: u8, allow: &[&str]) -> Result<ResponseSummary, RequestError> {
    let allowlist = EgressAllowlist::parse(allow).unwrap();
    let egress = Egress::new(&EgressSettings { allowlist, allow_private_networks: false });
    let destination = egress.destination(egress.parse_url(url).unwrap(), redirects).unwrap();
    let mut post = PostRequest {
        headers: HeaderMap::new(),
        same_origin_headers: HeaderMap::new(),
        body: Bytes::from_static(b"body"),
        timeout: Duration::from_secs(10),
    };
    post.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    post.same_origin_headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer token"));
    destination.post(post).await
}

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit() {
    let answers = |path: &str| match path {
        "/a" => redirect_to("/b?token=secret"),
        "/b" => redirect_to("/c"),
        _ => ok_response(),
    };
    let (address, got) = start_server(answers).await;
    let unfollowed = post(&format!("http://{address}/a"), 0, &[]).await.unwrap();
    assert_eq!((unfollowed.status, unfollowed.redirect_origin), (307, Some(format!("http://{address}"))));
    assert_eq!(post(&format!("http://{address}/a"), 1, &[]).await.unwrap().status, 307);
    got.lock().unwrap().clear();
    let answer = post(&format!("http://{address}/a"), 2, &[]).await.unwrap();
    assert_eq!((answer.status, answer.body_prefix.as_str()), (200, "fine"));
    let got = got.lock().unwrap().clone();
    let expected = ["/a", "/b", "/c"].map(|path| (path.to_owned(), true, Bytes::from_static(b"body")));
    assert_eq!(got, expected, "the same body, and the same-origin headers within one origin");
}

#[tokio::test]
async fn same_origin_headers_are_not_sent_after_a_redirect_to_another_origin() {
    let own = Arc::new(Mutex::new(String::new()));
    let back = Arc::clone(&own);
    let (other, others) = start_server(move |_| redirect_to(&format!("{}/end", back.lock().unwrap()))).await;
    let (address, got) =
        start_server(
            move |path| if path == "/end" { ok_response() } else { redirect_to(&format!("http://{other}/x")) },
        )
        .await;
    *own.lock().unwrap() = format!("http://{address}");
    assert_eq!(post(&format!("http://{address}/a"), 5, &[]).await.unwrap().status, 200);
    assert_eq!(*others.lock().unwrap(), [("/x".to_owned(), false, Bytes::from_static(b"body"))]);
    let sent: Vec<_> = got.lock().unwrap().iter().map(|(path, private, _)| (path.clone(), *private)).collect();
    assert_eq!(sent, [("/a".to_owned(), true), ("/end".to_owned(), false)]);
}

#[tokio::test]
async fn redirects_are_checked_like_urls_but_without_consent() {
    let (inside, insiders) = start_server(|_| ok_response()).await;
    let port = inside.port();
    for location in [
        format!("http://127.0.0.2:{port}/"),
        format!("http://127.2:{port}/"),
        format!("http://0x7f000002:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        format!("http://[64:ff9b::7f00:2]:{port}/"),
        format!("http://[2002:7f00:2::]:{port}/"),
        format!("//localhost:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://[fe80::1]/".to_owned(),
        "http://0.0.0.0/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let leads = location.clone();
        let (address, _) = start_server(move |_| redirect_to(&leads)).await;
        let refused = post(&format!("http://{address}/"), 3, &[]).await.unwrap_err();
        let by_guard = matches!(refused, RequestError::BlockedRedirect(_) | RequestError::Blocked(_));
        assert!(by_guard && !refused.to_string().contains("meta-data"), "{location}: {refused:?}");
    }
    assert_eq!(insiders.lock().unwrap().len(), 0);
    let (address, _) = start_server(move |_| redirect_to(&format!("http://localhost:{port}/"))).await;
    assert_eq!(post(&format!("http://{address}/"), 1, &["localhost"]).await.unwrap().status, 200);
}

#[tokio::test]
async fn names_are_checked_by_their_addresses() {
    let (address, got) = start_server(|_| ok_response()).await;
    // Every resolver knows `localhost`; in the configured URL it is consent.
    assert_eq!(post(&format!("http://localhost:{}/", address.port()), 0, &[]).await.unwrap().status, 200);
    // The system's resolver may know this name as well, but it is neither a literal address nor `localhost`.
    let name = format!("http://a.localhost:{}/x?token=1", address.port());
    match post(&name, 0, &[]).await.unwrap_err() {
        RequestError::Blocked(why) => assert!(why.contains("egress.allowlist") && !why.contains("token"), "{why}"),
        RequestError::NoResponse(why) => {
            assert!(why.contains("cannot be resolved") && !why.contains("token"), "{why}");
        }
        RequestError::BlockedRedirect(why) => panic!("{why}"),
    }
    assert_eq!(got.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn endless_responses_are_cut_off() {
    let endless = |_: &str| {
        let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 512])));
        Response::new(Body::from_stream(chunks))
    };
    let (address, _) = start_server(endless).await;
    assert_eq!(post(&format!("http://{address}/"), 0, &[]).await.unwrap().body_prefix.len(), 2048);
    let silent = |_: &str| Response::new(Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()));
    let (address, _) = start_server(silent).await;
    assert_eq!(post(&format!("http://{address}/"), 0, &[]).await.unwrap().body_prefix, "");
}

#[tokio::test]
async fn errors_name_only_the_host() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = post(&format!("http://me:pass@{address}/path?token=1"), 0, &[]).await.unwrap_err();
    assert_eq!(error, RequestError::NoResponse(format!("http://{address}: no connection")));
    let (address, _) = start_server(|_| ok_response()).await;
    let Err(RequestError::NoResponse(why)) = post(&format!("https://{address}/path"), 0, &[]).await else { panic!() };
    assert!(why.starts_with(&format!("https://{address}: no connection")) && !why.contains("path"), "{why}");
}

#[test]
fn invalid_urls_are_refused_when_parsed() {
    let egress = Egress::new(&EgressSettings::default());
    for wrong in
        ["", "example.com", "ftp://example.com/token", "http://169.254.169.254/token", "https://[fe80::1]/token"]
    {
        let why = egress.parse_url(wrong).unwrap_err();
        assert!(!why.contains("token"), "{wrong}: {why}");
    }
    let target = egress.parse_url("https://me:pass@example.com:8443/path?token=1").unwrap();
    assert_eq!(target.to_string(), "https://example.com:8443");
}

#[tokio::test]
async fn the_reachability_check_sends_nothing_and_is_guarded() {
    let (address, got) = start_server(|_| ok_response()).await;
    let reach = async |url: String| {
        let egress = Egress::new(&EgressSettings::default());
        egress.parse_url(&url).unwrap().check_reachable(Duration::from_secs(10)).await
    };
    assert_eq!(reach(format!("http://{address}/x")).await, Ok(()));
    assert_eq!(reach(format!("https://localhost:{}/x", address.port())).await, Ok(()));
    assert!(matches!(
        reach(format!("http://a.localhost:{}/x", address.port())).await,
        Err(RequestError::Blocked(_) | RequestError::NoResponse(_))
    ));
    assert!(got.lock().unwrap().is_empty());
}
