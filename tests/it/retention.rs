//! Retention: data past its limit is deleted, by the receiver and by `purge`, while events arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use retell_webhook::Clock;
use retell_webhook::Settings;
use retell_webhook::internals::EventIdGenerator;
use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::local::{LocalReceiver, storage_url};
use crate::support::signing::now_ms;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const DAY_MS: i64 = 86_400_000;
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Lines of an export: `count` events, received `days_ago` days ago, half of them large.
fn old_export_lines(count: usize, days_ago: i64, company: &str) -> String {
    use base64::Engine;
    let ids = EventIdGenerator::default();
    let lines = (0..count).map(|number| {
        let at_ms = now_ms() - days_ago * DAY_MS;
        let words = if number % 2 == 0 { 12_000 } else { 300 };
        let call = json!({ "call_id": format!("call_{days_ago}_{company}_{number}"), "transcript": "w".repeat(words) });
        let body = json!({ "event": "call_ended", "call": call }).to_string();
        let body = base64::prelude::BASE64_STANDARD.encode(body);
        let id = ids.next_id(at_ms).to_string();
        format!(
            "{}\n",
            json!({ "id": id, "company": company, "received_at_ms": at_ms, "headers": {}, "body_base64": body })
        )
    });
    lines.collect()
}

/// A test environment with events of 100, 40 and 0 days ago; `config` is added to its `local.toml`.
fn env_with_old_events(config: &str) -> TestEnv {
    let home = TestEnv::new();
    std::fs::create_dir_all(home.path().join("config")).unwrap();
    let companies = "[[companies]]\nslug = \"acme\"\nkeys = [\"key_0123456789abcdef0123\"]\n";
    write_config(&home, &format!("{companies}{config}"));
    let lines = [
        old_export_lines(300, 100, "default"),
        old_export_lines(100, 40, "acme"),
        old_export_lines(100, 40, "default"),
        old_export_lines(10, 0, "default"),
    ];
    let ran = home.run_with_input(&["events", "import", "-"], lines.concat().as_bytes());
    assert!(ran.stdout.starts_with("510 stored (0 under a new id)"), "{ran:?}");
    home
}

fn write_config(home: &TestEnv, text: &str) {
    std::fs::write(home.path().join("config/local.toml"), text).unwrap();
}

/// Disk space of the database and the body files. Not of the write-ahead log, which keeps its length and is
/// overwritten.
fn disk_bytes(home: &TestEnv) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let bodies = std::fs::read_dir(home.path().join("data/retell-webhook.db-bodies")).unwrap();
    let bodies: u64 = bodies.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum();
    home.database_path().metadata().unwrap().len() + bodies
}

#[test]
fn default_settings_delete_nothing() {
    let home = env_with_old_events("");
    let ran = home.run_ok(&["purge", "--yes"]);
    assert_eq!(ran.stdout, "nothing is deleted: no key of [retention] is set\n");
    let server = home.start_server();
    server.post_signed(&event_body("call_ended", "call_now"));
    assert_eq!(home.list_events(&["--limit", "1000"]).len(), 511);
}

#[test]
fn the_receiver_deletes_old_events_while_it_accepts_new_ones() {
    let mut home = env_with_old_events("retention = { events_days = 30 }\n[retention]\nevents_days = 90\n");
    let before = disk_bytes(&home);
    let mut server = home.start_server();
    home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    let mut sent = 0;
    let done = wait_until(WAIT_LIMIT, || {
        sent += 1;
        assert_eq!(server.post_signed(&event_body("call_ended", &format!("call_new_{sent}"))).status, 200);
        home.list_events(&["--limit", "1000"]).len() == 110 + sent
    });
    let companies: Vec<_> =
        home.list_events(&["--limit", "1000"]).iter().map(|event| event["company"].clone()).collect();
    assert!(done && !companies.contains(&json!("acme")), "{} events, {sent} sent", companies.len());
    assert!(server.wait_for_output("retention removed"));
    assert!(server.metrics().text().contains("retell_webhook_retention_removed_total{kind=\"events\"} 400"));
    let status = home.run_ok(&["status", "--json"]).json();
    let kept =
        (&status["retention"]["default"]["events_days"], &status["retention"]["companies"]["acme"]["events_days"]);
    assert_eq!((kept.0.as_u64(), kept.1.as_u64()), (Some(90), Some(30)));
    assert_eq!(status["events"]["accepted"].as_u64(), Some(510 + sent as u64));
    assert!(home.run_ok(&["status"]).stdout.contains("events 90 days; 1 company differs"));
    let smaller = || disk_bytes(&home) < before / 2;
    assert!(wait_until(WAIT_LIMIT, smaller), "{} of {before}", disk_bytes(&home));
    // A deleted event that is sent again is a new event, and only once.
    let old = serde_json::from_str::<serde_json::Value>(old_export_lines(1, 100, "default").trim()).unwrap();
    let body = {
        use base64::Engine;
        base64::prelude::BASE64_STANDARD.decode(old["body_base64"].as_str().unwrap()).unwrap()
    };
    assert!(!server.post_signed(&body).is_duplicate());
    assert!(server.post_signed(&body).is_duplicate());
    assert_eq!(server.stop(), Some(0));
    let server = home.start_server();
    assert!(server.post_signed(&body).is_duplicate());
    assert!(home.export_events().iter().all(|kept| kept.json["error"].is_null()));
}

#[test]
fn a_reload_changes_the_retention() {
    let home = env_with_old_events("");
    let server = home.start_server();
    assert_eq!(home.list_events(&["--limit", "1000"]).len(), 510);
    write_config(&home, "[retention]\nevents_days = 30\n");
    server.send_signal("-HUP");
    assert!(wait_until(WAIT_LIMIT, || home.list_events(&["--limit", "1000"]).len() == 10));
    assert!(!server.output().contains("need a restart"), "{}", server.output());
}

#[test]
fn purge_counts_first_and_deletes_with_yes() {
    let home = env_with_old_events("[retention]\nevents_days = 60\n");
    for args in [&["purge", "--json"][..], &["purge", "--dry-run", "--json"]] {
        let said = home.run_ok(args).json();
        let rows = json!([{ "kind": "events", "companies": "all", "days": 60, "rows": 300 }]);
        assert_eq!((&said["dry_run"], &said["by_age"]), (&json!(true), &rows));
    }
    assert!(home.run_ok(&["purge"]).stdout.contains("`purge --yes` deletes it"));
    assert_eq!(home.list_events(&["--limit", "1000"]).len(), 510);
    let said = home.run_ok(&["purge", "--yes", "--json"]).json();
    assert_eq!((&said["dry_run"], &said["by_age"][0]["rows"]), (&json!(false), &json!(300)));
    assert_eq!(home.list_events(&["--limit", "1000"]).len(), 210);
    assert_eq!(home.run_ok(&["purge", "--json"]).json()["by_age"][0]["rows"], 0);
}

#[test]
fn the_size_of_the_store_is_bounded() {
    let home = env_with_old_events("[retention]\nmax_bytes = 2000000\n");
    let used = home.run_ok(&["purge", "--json"]).json()["used_bytes"].as_u64().unwrap();
    assert!(used > 3_000_000, "{used}");
    let said = home.run_ok(&["purge", "--yes", "--json"]).json();
    let used = said["used_bytes"].as_u64().unwrap();
    assert!(used <= 2_000_000 && used > 1_000_000, "{said}");
    let left = home.list_events(&["--limit", "1000"]);
    assert_eq!(left.len() as u64 + said["by_size"].as_u64().unwrap(), 510);
    assert!(left.iter().filter(|event| event["call_id"].as_str().unwrap().starts_with("call_0_")).count() == 10);
}

#[test]
fn invalid_retention_settings_are_rejected() {
    for (key, value) in [("MAX_BYTES", "1000"), ("EVENTS_DAYS", "100000")] {
        let home = TestEnv::new().with_env(&format!("RETELL_WEBHOOK__RETENTION__{key}"), value);
        let ran = home.run(&["config", "check"]);
        let said = format!("retention.{}", key.to_lowercase());
        assert!(ran.exit_code == Some(1) && ran.stderr.contains(&said), "{ran:?}");
    }
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__RETENTION__EVENT_DAYS", "1");
    assert!(home.run(&["config", "check"]).stderr.contains("did you mean `retention.events_days`?"));
}

#[test]
fn the_age_is_measured_with_the_injected_clock() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.retention.events_days = Some(7);
    settings.storage.url = storage_url(folder.path()).parse().unwrap();
    let time = Arc::new(AtomicI64::new(now_ms()));
    let start = || {
        let (time, settings) = (Arc::clone(&time), settings.clone());
        LocalReceiver::start(folder.path(), |builder| {
            builder.settings(settings).clock(Clock::from_fn(move || time.load(Ordering::Relaxed)))
        })
    };
    let events = |local: &LocalReceiver| {
        let store = Arc::clone(local.receiver.store());
        local
            .runtime
            .block_on(async move { store.list_events(retell_webhook::internals::EventFilter::default()).await })
            .unwrap()
    };
    let local = start();
    assert_eq!(local.post_signed(&event_body("call_ended", "call_1")).status, 200);
    let all_planned = || {
        let stats = local.runtime.block_on(local.receiver.store().stats()).unwrap();
        stats.backlogs.iter().all(|backlog| backlog.behind == 0)
    };
    assert!(wait_until(WAIT_LIMIT, all_planned));
    local.stop();
    time.fetch_add(6 * DAY_MS, Ordering::Relaxed);
    let local = start();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(events(&local).len(), 1);
    local.stop();
    time.fetch_add(2 * DAY_MS, Ordering::Relaxed);
    let local = start();
    assert!(wait_until(WAIT_LIMIT, || events(&local).is_empty()));
    local.stop();
}
