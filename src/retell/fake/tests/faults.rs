use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{FakeFixture, KEY, seed};
use crate::base::clock::Clock;
use crate::retell::fake::faults::REPEATED_CURSOR;
use crate::retell::fake::{FakeRetell, Fault, RateLimit};

#[tokio::test]
async fn a_status_fault_holds_below_its_path_and_for_its_number_of_times() {
    let fixture = FakeFixture::start().await;
    fixture.fake.inject_times("/get-agent/", Fault::Status(503, Some("7")), 2);
    assert_eq!(fixture.retry_after("/get-agent/agent_llm").await.as_deref(), Some("7"));
    assert_eq!(fixture.get("/get-concurrency").await.0, 200);
    assert_eq!(fixture.get("/get-agent/agent_flow").await.0, 503);
    assert_eq!(fixture.get("/get-agent/agent_flow").await.0, 200);
    fixture.fake.inject("/get-agent/", Fault::Status(500, None));
    assert_eq!(fixture.retry_after("/get-agent/agent_llm").await, None);
    fixture.fake.clear_faults();
    assert_eq!(fixture.get("/get-agent/agent_llm").await.0, 200);
}

/// A client that repeats such a write would create a second draft.
#[tokio::test]
async fn writes_are_executed_before_their_answer_is_lost() {
    let fixture = FakeFixture::start().await;
    let path = "/create-agent-version/agent_llm";
    let body = json!({ "base_version": 0 });
    fixture.fake.inject_times(path, Fault::Truncated, 1);
    assert_eq!(fixture.try_send("POST", path, Some(body.clone()), Some(KEY)).await, None);
    assert_eq!(fixture.get("/get-agent/agent_llm").await.1["version"], 1);
    fixture.fake.inject_times(path, Fault::StatusAfterEffect(502), 1);
    assert_eq!(fixture.post(path, body.clone()).await.0, 502);
    assert_eq!(fixture.get("/get-agent/agent_llm").await.1["version"], 2);
    fixture.fake.inject_times(path, Fault::Status(502, None), 1);
    assert_eq!(fixture.post(path, body).await.0, 502);
    assert_eq!(fixture.get("/get-agent/agent_llm").await.1["version"], 2, "this one was not executed");
}

#[tokio::test]
async fn bodies_can_be_of_another_format_shape_or_size() {
    let fixture = FakeFixture::start().await;
    let path = "/get-concurrency";
    fixture.fake.inject_times(path, Fault::NotJson, 1);
    assert!(fixture.get(path).await.1.as_str().unwrap().starts_with("<!doctype html>"));
    fixture.fake.inject_times(path, Fault::WrongShape, 1);
    assert!(fixture.get(path).await.1.is_array());
    fixture.fake.inject_times(path, Fault::HugeBody(3_000_000), 1);
    let (status, body) = fixture.get(path).await;
    assert_eq!((status, body["padding"].as_str().unwrap().len()), (200, 3_000_000 - 14));
}

#[tokio::test]
async fn a_repeated_cursor_leads_to_the_same_page_again() {
    let fixture = FakeFixture::start().await;
    fixture.fake.inject("/v", Fault::RepeatedCursor);
    let (_, first) = fixture.post("/v2/list-agents?limit=2", json!({})).await;
    assert_eq!((&first["has_more"], &first["pagination_key"]), (&json!(true), &json!(REPEATED_CURSOR)));
    let next = format!("/v2/list-agents?limit=2&pagination_key={REPEATED_CURSOR}");
    assert_eq!(fixture.post(&next, json!({})).await.1, first);
    let (status, calls) = fixture.post("/v3/list-calls", json!({ "pagination_key": REPEATED_CURSOR })).await;
    assert_eq!((status, &calls["has_more"]), (200, &json!(true)));
}

/// With a clock that stands still, all requests are within one second.
#[tokio::test]
async fn more_requests_within_a_second_than_the_limit_get_429() {
    let now_ms = Arc::new(AtomicI64::new(1_790_000_000_000));
    let clock_ms = Arc::clone(&now_ms);
    let clock = Clock::from_fn(move || clock_ms.load(Ordering::Relaxed));
    let mut fixture = FakeFixture::start().await;
    fixture.fake = FakeRetell::start_with_clock(seed(), clock).await.unwrap();
    fixture.fake.limit_requests(RateLimit { per_second: Some(2), retry_after: Some("1"), ..RateLimit::default() });
    assert_eq!(fixture.get("/get-concurrency").await.0, 200);
    assert_eq!(fixture.get("/list-voices").await.0, 200);
    let (status, body) = fixture.get("/get-concurrency").await;
    assert_eq!((status, &body["status"]), (429, &json!("error")));
    assert_eq!(fixture.retry_after("/get-concurrency").await.as_deref(), Some("1"));
    now_ms.fetch_add(1_000, Ordering::Relaxed);
    assert_eq!(fixture.get("/get-concurrency").await.0, 200);
}

#[tokio::test]
async fn requests_at_the_same_time_are_counted_and_limited() {
    let fixture = FakeFixture::start().await;
    fixture.fake.inject("/get-agent/", Fault::Delay(Duration::from_secs(3_600)));
    let (first, second) = ("/get-agent/agent_llm", "/get-agent/agent_flow");
    let watch = async {
        while fixture.fake.count("/get-agent/").total < 2 {
            tokio::task::yield_now().await;
        }
        fixture.fake.limit_requests(RateLimit { at_once: Some(2), ..RateLimit::default() });
        fixture.get("/list-voices").await.0
    };
    tokio::select! {
        _ = fixture.get(first) => unreachable!("delayed for an hour"),
        _ = fixture.get(second) => unreachable!("delayed for an hour"),
        status = watch => assert_eq!(status, 429),
    }
    assert_eq!(fixture.fake.count("").max_at_once, 3);
    assert_eq!(fixture.fake.count(first).max_at_once, 1);
    assert_eq!((fixture.fake.count("/get-agent/").total, fixture.fake.count("").total), (2, 3));
    fixture.fake.reset_counts();
    assert_eq!(fixture.fake.count("").total, 0);
    assert!(fixture.fake.requests().is_empty());
}

/// A test does not have to wait for the requests that it leaves behind.
#[tokio::test]
async fn a_delay_ends_when_the_fake_is_dropped() {
    let fixture = FakeFixture::start().await;
    fixture.fake.inject("/", Fault::Delay(Duration::from_secs(3_600)));
    let url = format!("{}/list-voices", fixture.fake.base_url());
    let client = crate::egress::build_client(Duration::from_secs(3_600)).unwrap();
    let drop_later = async move {
        while fixture.fake.count("").total == 0 {
            tokio::task::yield_now().await;
        }
        drop(fixture);
    };
    let (answered, ()) = tokio::join!(client.get(url).send(), drop_later);
    assert_ne!(answered.map(|response| response.status().as_u16()).ok(), Some(200));
}

#[tokio::test]
async fn unknown_faulty_statuses_become_500() {
    let fixture = FakeFixture::start().await;
    fixture.fake.inject("/", Fault::Status(1, None));
    assert_eq!(
        fixture.get("/list-voices").await,
        (500, json!({ "status": "error", "message": "Internal Server Error" }))
    );
    assert_ne!(fixture.get("/list-voices").await.1, Value::Null);
}
