//! The answers to functions: fallbacks, truncation, concurrency and programs.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::{
    WEATHER_PATH, function_request_body, list_invocations, post_function_request, start_with_weather_function,
};
use crate::support::destination::{DestinationServer, header_response, status_response};
use crate::support::test_env::TestEnv;

fn bern_request_body(call_id: &str) -> Vec<u8> {
    function_request_body(call_id, &json!({"city": "Bern"}))
}

#[test]
fn every_failure_is_answered_with_the_fallback() {
    let sink = DestinationServer::start_with(|before, _| match before {
        0 => status_response(500),
        1 => status_response(404),
        2 => header_response(302, "location", "/elsewhere"),
        3 => Response::builder().header("content-type", "application/json").body(Body::from("{\"cut\":")).unwrap(),
        _ => status_response(200),
    });
    let (home, server) = start_with_weather_function(&sink.url(), "fallback = { error = \"later\", sorry = true }");
    for number in 0..4 {
        let answer =
            post_function_request(server.address(), WEATHER_PATH, &bern_request_body(&format!("call_{number}")));
        assert_eq!((answer.status, answer.json()), (200, json!({"error": "later", "sorry": true})), "{number}");
    }
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_4")).text(), "said");
    let ledger = list_invocations(&home);
    assert!(ledger[1..].iter().all(|row| row["state"] == "failed" && row["reason"].is_string()), "{ledger:?}");
    let (_home, server) = start_with_weather_function("http://127.0.0.1:1", "fallback = \"Sorry.\"");
    let answer = post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_1"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "Sorry."));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn web_pages_and_binary_data_fail_and_an_empty_body_is_an_answer() {
    let json =
        |body: &'static [u8]| Response::builder().header("content-type", "application/json").body(Body::from(body));
    let sink = DestinationServer::start_with(move |before, _| match before {
        0 => Response::builder().header("content-type", "text/html").body(Body::from("<html>502</html>")).unwrap(),
        1 => Response::new(Body::from(&b"\x89PNG\r\n\x1a\n\0"[..])),
        _ => json(b"").unwrap(),
    });
    let (home, server) = start_with_weather_function(&sink.url(), "fallback = \"Sorry.\"");
    for number in 0..2 {
        let answer =
            post_function_request(server.address(), WEATHER_PATH, &bern_request_body(&format!("call_{number}")));
        assert_eq!((answer.status, answer.text().as_str()), (200, "Sorry."), "{number}");
        assert_eq!(list_invocations(&home)[0]["state"], "failed");
    }
    let answer = post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_2"));
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!(list_invocations(&home)[0]["state"], "done");
}

#[test]
fn a_late_target_is_answered_with_the_fallback() {
    let sink = DestinationServer::start_with(|before, _| {
        if before == 0 {
            std::thread::sleep(Duration::from_secs(8));
        }
        status_response(200)
    });
    let (_home, server) = start_with_weather_function(&sink.url(), "timeout_ms = 300");
    let began = Instant::now();
    let answer = post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_1"));
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("failed")));
    assert!(began.elapsed() < Duration::from_secs(6), "the request does not wait for the target");
    let metrics = server.metrics().text();
    assert!(metrics.contains(r#"{function="weather",outcome="timed_out"} 1"#), "{metrics}");
}

#[test]
fn answers_are_cut_to_15000_characters() {
    for (letter, more) in [("a", 1), ("é", 5_000), ("漢", 40_000), ("🙂", 1), ("🙂", 40_000)] {
        let text = letter.repeat(15_000 + more);
        let sink = DestinationServer::start_with(move |_, _| Response::new(Body::from(text.clone())));
        let (home, server) = start_with_weather_function(&sink.url(), "");
        let answer = post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_1"));
        assert!(answer.text() == letter.repeat(15_000), "{letter} {more}: {}", answer.text().chars().count());
        assert_eq!(list_invocations(&home)[0]["truncated"], true);
        assert!(server.wait_for_output("function answer truncated"));
        assert!(
            post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_1")).text()
                == letter.repeat(15_000),
            "the stored answer is cut as well"
        );
    }
    let sink = DestinationServer::start_with(|_, _| Response::new(Body::from("é".repeat(15_000))));
    let (home, server) = start_with_weather_function(&sink.url(), "");
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_1")).text().chars().count(),
        15_000
    );
    assert_eq!(list_invocations(&home)[0]["truncated"], false);
}

#[test]
fn calls_wait_for_a_permit_until_their_deadline() {
    let sink = DestinationServer::start_with(|_, _| {
        std::thread::sleep(Duration::from_millis(2_000));
        status_response(200)
    });
    let (_home, server) = start_with_weather_function(&sink.url(), "concurrency = 1\ntimeout_ms = 3000");
    let address = server.address();
    let askers: Vec<_> = (0..3)
        .map(|number| {
            std::thread::spawn(move || {
                post_function_request(address, WEATHER_PATH, &bern_request_body(&format!("call_{number}"))).text()
            })
        })
        .collect();
    let answered = askers.into_iter().map(|asker| asker.join().unwrap()).filter(|text| text == "said").count();
    assert!((1..3).contains(&answered), "{answered}");
}

#[cfg(unix)]
#[test]
fn programs_answer_on_standard_output() {
    let home = TestEnv::new();
    let table = |name: &str, script: &str| {
        format!(
            "[[functions]]\nname = \"{name}\"\ntimeout_ms = 2000\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n"
        )
    };
    home.write_config(
        &[
            table("echo", "echo quiet >&2; cat"),
            table("about", "printf \"$RETELL_FUNCTION $RETELL_CALL_ID\""),
            table("fails", "echo no; exit 3"),
            table("hangs", "sleep 60"),
            table("floods", "yes 12345678 | head -c 200000"),
        ]
        .concat(),
    );
    let server = home.start_server();
    let ask = |name: &str| {
        let body = json!({"name": name, "call": {"call_id": "call_1"}, "args": {"b": 1, "a": "é"}}).to_string();
        post_function_request(server.address(), &format!("/api/v1/function/{name}"), body.as_bytes())
    };
    assert_eq!(ask("echo").json(), json!({"a": "é", "b": 1}));
    assert_eq!(ask("about").text(), "about call_1");
    assert_eq!(ask("fails").json()["error"], "unavailable");
    assert_eq!(ask("hangs").json()["error"], "unavailable");
    assert_eq!(ask("floods").body.len(), 15_000);
}
