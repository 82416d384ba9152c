//! Many deliveries: lists, counts, and the rate limit of a bulk operation.

use std::time::{Duration, Instant};

use crate::support::test_env::TestEnv;

/// A store with `count` deliveries of one handler, every hundredth of them dead, written without a receiver.
fn env_with_deliveries(count: u32) -> TestEnv {
    let home = TestEnv::new();
    drop(home.start_server());
    let mut conn = home.open_database();
    let filled = conn.transaction().unwrap();
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})");
    let id = "unhex(printf('%012x', 1790000000000 + i) || '7000' || printf('%016x', i))";
    filled
        .execute_batch(&format!(
            "INSERT INTO handlers (name, since, through) VALUES ('old', 0, {count});
             {numbers} INSERT INTO events (id, identity, company_id, event, call_id, received_at_ms, origin, state, size_bytes)
               SELECT {id}, zeroblob(16), 1, 'call_ended', 'call_' || i, 1790000000000 + i, 0, 0, 400 FROM n;
             INSERT INTO bodies (seq, body) SELECT seq, zeroblob(400) FROM events;
             {numbers} INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms,
               updated_ms, replay)
               SELECT (SELECT id FROM handlers WHERE name = 'old'), i, CASE i % 100 WHEN 0 THEN 4 ELSE 3 END, 1, -i, 1,
                 0, 0, 0
               FROM n;"
        ))
        .unwrap();
    filled.commit().unwrap();
    home
}

#[test]
fn lists_and_counts_of_many_deliveries_are_right() {
    let home = env_with_deliveries(200_000);
    let length = |args: &[&str]| home.run_ok(args).json().as_array().unwrap().len();
    assert_eq!(length(&["deliveries", "list", "--json"]), 50);
    assert_eq!(length(&["deliveries", "list", "--json", "--state", "pending"]), 0);
    assert_eq!(length(&["deliveries", "list", "--json", "--call", "call_77"]), 1);
    assert_eq!(length(&["deliveries", "list", "--json", "--event", "call_started"]), 0);
    assert_eq!(length(&["dead", "list", "--json", "--limit", "5000"]), 2_000);
    let said = home.run_ok(&["replay", "--handler", "old", "--all", "--json"]).json();
    assert_eq!(said["selected"], 200_000);
    let began = Instant::now();
    let said = home.run_ok(&["dead", "retry", "--all", "--yes", "--json", "--rate", "1000"]).json();
    assert_eq!((said["selected"].as_u64(), said["changed"].as_u64()), (Some(2_000), Some(2_000)));
    assert!(began.elapsed() > Duration::from_millis(1_500), "not faster than --rate");
    assert_eq!(length(&["deliveries", "list", "--json", "--state", "pending", "--limit", "5000"]), 2_000);
}
