//! What SIGTERM does to connections: requests that have arrived are answered, the others do not delay the exit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::bodies::event_body;
use crate::support::client::{HttpResponse, RawClient, WEBHOOK_PATH, request_head};
use crate::support::server::ReceiverProcess;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;

const PARTIAL_HEAD: &[u8] = b"POST /api/v1/webhook/retell HTTP/1.1\r\nHost: localhost\r\n";
/// Time for the exit. Much less than the 8 s after which a slow request head is given up.
const EXIT_LIMIT: Duration = Duration::from_secs(5);

fn signed_request(call_id: &str) -> Vec<u8> {
    let body = event_body("call_ended", call_id);
    let head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(&body))], Some(body.len()));
    [head.as_bytes(), &body].concat()
}

/// A connection on which one request has been answered.
fn used_connection(server: &ReceiverProcess) -> RawClient {
    let mut client = RawClient::connect(server.address());
    let response = client.request("GET", "/ping", &[], b"").expect("a response");
    assert_eq!((response.status, response.header("connection")), (200, None));
    client
}

fn assert_acknowledged(response: Option<HttpResponse>, what: &str) {
    let response = response.unwrap_or_else(|| panic!("no response: {what}"));
    assert_eq!(response.status, 200, "{what}: {}", response.text());
}

#[test]
fn requests_that_arrived_before_the_signal_are_answered() {
    let env = TestEnv::new();
    let mut server = env.start_server();
    let mut used = used_connection(&server);
    let mut with_partial_head = used_connection(&server);
    let mut idle = used_connection(&server);
    // While the process is paused, everything that is sent waits in the system: no connection is accepted and no byte
    // read.
    server.send_signal("-STOP");
    used.send(&signed_request("call_used")).unwrap();
    let mut new: Vec<_> = (0..20).map(|_| RawClient::connect(server.address())).collect();
    for (number, client) in new.iter_mut().enumerate() {
        client.send(&signed_request(&format!("call_new_{number}"))).unwrap();
    }
    with_partial_head.send(PARTIAL_HEAD).unwrap();
    let mut new_with_partial_head = RawClient::connect(server.address());
    new_with_partial_head.send(PARTIAL_HEAD).unwrap();
    server.send_sigterm();
    server.send_signal("-CONT");

    // Without the header `connection: close` when a request was read before the signal was noticed.
    assert_acknowledged(used.read_response(), "on a connection that was used before");
    for client in &mut new {
        assert_acknowledged(client.read_response(), "on a connection that was not accepted yet");
    }
    for client in [&mut idle, &mut with_partial_head, &mut new_with_partial_head] {
        assert!(client.read_response().is_none());
    }
    assert_eq!(server.wait_for_exit_code_within(EXIT_LIMIT), Some(0));
    assert!(!server.output().contains("connections cut off"), "{}", server.output());
    assert_eq!(env.export_events().len(), 21);
}

#[test]
fn no_request_is_cut_on_connections_in_use() {
    let env = TestEnv::new();
    let mut server = env.start_server();
    let is_signalled = AtomicBool::new(false);
    let address = server.address();
    let (in_use, connections_in_use) = mpsc::channel();
    let answered: Vec<usize> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let (is_signalled, in_use) = (&is_signalled, in_use.clone());
                scope.spawn(move || {
                    let mut client = RawClient::connect(address);
                    for number in 0.. {
                        client.send(&signed_request(&format!("call_{sender}_{number}"))).unwrap_or_default();
                        let was_sent_before = !is_signalled.load(Ordering::SeqCst);
                        match client.read_response() {
                            Some(response) => {
                                assert_eq!(response.status, 200, "{}", response.text());
                                if response.header("connection") == Some("close") {
                                    return number + 1;
                                }
                                if number == 10 {
                                    in_use.send(()).unwrap();
                                }
                            }
                            None if was_sent_before => panic!("request {number} of sender {sender} was cut"),
                            None => return number,
                        }
                    }
                    unreachable!("the loop ends with the connection")
                })
            })
            .collect();
        drop(in_use);
        assert_eq!(connections_in_use.iter().take(8).count(), 8, "a sender ended early");
        is_signalled.store(true, Ordering::SeqCst);
        server.send_sigterm();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(server.wait_for_exit_code_within(EXIT_LIMIT), Some(0));
    assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
    assert_eq!(env.export_events().len(), answered.iter().sum::<usize>());
}
