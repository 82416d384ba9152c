//! The content of `/metrics`.

mod operator_access;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use retell_webhook::Outcome;

use crate::support::bodies::event_body;
use crate::support::client::{HttpResponse, RawClient, get, post, request_head};
use crate::support::local::LocalReceiver;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

/// A parsed page; parsing checks every line against the format.
struct MetricsPage {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl MetricsPage {
    fn from_response(response: &HttpResponse) -> Self {
        assert_eq!(response.status, 200, "{}", response.text());
        let content_type = response.header("content-type").unwrap();
        assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        Self::parse(&response.text())
    }

    fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("# EOF at the end");
        let mut page = Self { types: BTreeMap::new(), samples: BTreeMap::new() };
        let mut with_help = String::new();
        let mut current = String::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.') && name.starts_with("retell_webhook_"), "{line}");
                name.clone_into(&mut with_help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, with_help, "every TYPE line follows its HELP line: {line}");
                assert!(page.types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                assert!(name == current && name.ends_with(unit), "{line}");
            } else {
                page.parse_sample(line, &current);
            }
        }
        page.check_histograms();
        page
    }

    fn parse_sample(&mut self, line: &str, current: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest));
        let suffixes: &[&str] = match self.types[current].as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            "gauge" => &[""],
            other => panic!("{other}: {line}"),
        };
        assert!(suffixes.iter().any(|suffix| name == format!("{current}{suffix}")), "{line}");
        assert!(labels.is_empty() || labels.ends_with("\"}"), "{line}");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        assert!(value >= 0.0 && self.samples.insert(series.to_owned(), value).is_none(), "{line}");
    }

    fn check_histograms(&self) {
        for (name, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let counts = self.samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}_count")));
            for (series, total) in counts {
                // `name_count`, or `name_count{handler="log"}`.
                let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
                let is_bucket =
                    |series: &&String| series.starts_with(&format!("{name}_bucket")) && series.contains(labels);
                let buckets: Vec<_> = self.samples.iter().filter(|(series, _)| is_bucket(series)).collect();
                let infinity = buckets.iter().find(|(series, _)| series.contains("le=\"+Inf\""));
                assert!((infinity.unwrap().1 - total).abs() < 0.5, "{series}");
                assert!(buckets.len() > 8 && buckets.iter().all(|(_, count)| *count <= total), "{series}");
            }
        }
    }

    /// The value of a sample that must be a whole number.
    fn sample_value(&self, series: &str) -> i64 {
        let name = format!("retell_webhook_{series}");
        let value = self.samples.get(&name).unwrap_or_else(|| panic!("no {name} in {:?}", self.samples.keys()));
        assert!(value.fract().abs() < f64::EPSILON, "{name}");
        format!("{value:.0}").parse().unwrap()
    }
}

fn read_metrics(server: &ReceiverProcess) -> MetricsPage {
    MetricsPage::from_response(&server.metrics())
}

#[test]
fn all_outcomes_are_counted() {
    let home = TestEnv::new();
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    assert_eq!(server.post_signed(&body).status, 200);
    assert_eq!(server.post_signed(&body).status, 200);
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1 again")).status, 200);
    let revised = br#"{"event":"call_ended","call":{"call_id":"call_1","duration_ms":5}}"#;
    assert_eq!(server.post_signed(revised).status, 200);
    assert_eq!(server.post_signed(b"not JSON").status, 200);
    assert_eq!(server.post_signed(br#"{"event":"+12025550143"}"#).status, 200);
    assert_eq!(post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms())).status, 401);
    assert_eq!(post(server.address(), &body, &sign_with(KEY, &body, now_ms() - 900_000)).status, 401);
    assert_eq!(post(server.address(), &body, "nonsense").status, 401);
    let declared = request_head("POST", "/webhook", &[("X-Retell-Signature", &sign(b"x"))], Some(20_000_000));
    let mut client = RawClient::connect(server.address());
    client.send(declared.as_bytes()).unwrap();
    assert_eq!(client.read_response().unwrap().status, 413);

    let is_done = |page: &MetricsPage| {
        page.sample_value(r#"delivery_attempts_total{handler="log",outcome="succeeded"}"#) == 5
            && page.sample_value(r#"handler_backlog_events{handler="log"}"#) == 0
    };
    assert!(wait_until(Duration::from_secs(10), || is_done(&read_metrics(&server))));
    // An event named like a phone number is shown as `unknown`, also in the log.
    assert!(!server.output().contains("2025550143"));
    let page = read_metrics(&server);
    let events = |outcome: &str, kind: &str| {
        page.sample_value(&format!("events_total{{outcome=\"{outcome}\",event=\"{kind}\"}}"))
    };
    assert_eq!(events("stored", "call_ended"), 2);
    assert_eq!(events("stored", "call_started"), 0);
    assert_eq!((events("duplicate", "call_ended"), events("revision", "call_ended")), (1, 1));
    assert_eq!((events("unparsed", "unknown"), events("stored", "unknown")), (1, 1));
    for (reason, count) in [("no_key_matched", 1), ("stale_past", 1), ("malformed", 1), ("missing", 0)] {
        assert_eq!(page.sample_value(&format!("requests_rejected_total{{reason=\"{reason}\"}}")), count, "{reason}");
    }
    assert_eq!(page.sample_value(r#"requests_unreadable_total{reason="too_large"}"#), 1);
    assert_eq!(page.sample_value("intake_duration_seconds_count"), 6);
    assert_eq!(page.sample_value(r#"intake_duration_seconds_bucket{le="10.0"}"#), 6);
    assert_eq!(page.sample_value("body_size_bytes_count"), 6);
    assert!(page.sample_value("inflight_body_bytes") < 10_000);
    assert_eq!(page.sample_value("inflight_body_limit_bytes"), 64 * 1024 * 1024);
    assert_eq!(page.sample_value("store_events_per_commit_sum"), 5);
    assert!(page.sample_value("store_commits_total") >= page.sample_value("store_events_per_commit_count"));
    assert_eq!(page.sample_value("journal_last_seq"), 5);
    assert_eq!(page.sample_value(r#"delivery_attempts_total{handler="call_store",outcome="dead"}"#), 0);
    assert_eq!(page.sample_value(&format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1);
    assert!(page.samples["retell_webhook_process_start_time_seconds"] > 1.7e9);
    assert_eq!(page.sample_value(r#"log_lines_dropped_total{output="file"}"#), 0);
    for state in ["pending", "running", "scheduled", "dead"] {
        assert_eq!(
            page.sample_value(&format!("handler_deliveries{{handler=\"log\",state=\"{state}\"}}")),
            0,
            "{state}"
        );
    }
    assert_eq!(page.sample_value(r#"handler_breaker{handler="log",state="closed"}"#), 1);
    assert_eq!(page.sample_value(r#"handler_oldest_undelivered_timestamp_seconds{handler="log"}"#), 0);
    assert_eq!(page.sample_value(r#"delivery_attempt_duration_seconds_count{handler="log"}"#), 5);
    assert!(page.samples[r#"retell_webhook_last_event_timestamp_seconds{company="default"}"#] > 1.7e9);
    assert_eq!(page.sample_value(r#"clock_skew_seconds{direction="behind"}"#), 0);
    assert_eq!(page.sample_value(r#"alarm_raised{alarm="silence"}"#), 0);
    if cfg!(target_os = "linux") {
        assert!(page.sample_value("disk_free_bytes") <= page.sample_value("disk_size_bytes"));
        assert!(page.sample_value("process_resident_memory_bytes") > 1_000_000);
        assert!(page.sample_value("process_open_fds") > 5);
    }
}

#[test]
fn labels_never_come_from_a_request() {
    let home = TestEnv::new();
    let server = home.start_server();
    let before = read_metrics(&server).samples.len();
    for number in 0..50 {
        let body = event_body(&format!("invented_{number}"), &format!("call_{number}"));
        assert_eq!(server.post_signed(&body).status, 200);
    }
    let after = read_metrics(&server);
    assert_eq!(after.samples.len(), before, "{:?}", after.samples.keys());
    assert_eq!(after.sample_value(r#"events_total{outcome="stored",event="unknown"}"#), 50);
}

#[test]
fn an_event_that_could_not_be_stored_is_counted() {
    let home = TestEnv::new();
    let server = home.start_server();
    home.open_database()
        .execute_batch("CREATE TRIGGER poison BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
        .unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 503);
    assert_eq!(read_metrics(&server).sample_value(r#"events_total{outcome="not_stored",event="call_ended"}"#), 1);
}

#[test]
fn an_application_reads_the_metrics_itself_and_two_receivers_count_separately() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = folders.each_ref().map(|folder| LocalReceiver::start(folder.path(), |builder| builder));
    assert_eq!(one.post_signed(&event_body("chat_ended", "call_1")).status, 200);
    assert_eq!(get(one.address, "/metrics").status, 404, "the embeddable router has no metrics");
    let stored = r#"events_total{outcome="stored",event="chat_ended"}"#;
    let count = |local: &LocalReceiver| {
        MetricsPage::parse(&local.runtime.block_on(local.receiver.metrics_text())).sample_value(stored)
    };
    assert_eq!((count(&one), count(&two)), (1, 0));
    one.stop();
    two.stop();
}

#[test]
fn deliveries_count_by_outcome_and_undelivered_events_are_the_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let semaphore = Arc::new(tokio::sync::Semaphore::new(0));
    let permits = Arc::clone(&semaphore);
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder
            .on_call_started(|_, _| async { Outcome::retry("not yet") })
            .on_call_ended(|_, _| async { Outcome::fail("never") })
            .on_call_analyzed(move |_, _| {
                let permits = Arc::clone(&permits);
                async move {
                    let _ = permits.acquire().await;
                    Outcome::Done
                }
            })
    });
    let read = || MetricsPage::parse(&local.runtime.block_on(local.receiver.metrics_text()));
    let outcomes = |page: &MetricsPage| {
        let outcomes = ["succeeded", "scheduled", "dead"].iter();
        let count = |outcome| {
            page.sample_value(&format!("delivery_attempts_total{{handler=\"closures\",outcome=\"{outcome}\"}}"))
        };
        outcomes.map(count).collect::<Vec<_>>()
    };
    let backlog = |page: &MetricsPage| page.sample_value(r#"handler_backlog_events{handler="closures"}"#);
    for name in ["call_started", "call_ended", "call_analyzed"] {
        assert_eq!(local.post_signed(&event_body(name, &format!("call_{name}"))).status, 200);
    }
    assert!(wait_until(Duration::from_secs(10), || outcomes(&read()) == [0, 1, 1]), "{:?}", outcomes(&read()));
    assert!(backlog(&read()) > 0, "the last one is still being handled");
    semaphore.add_permits(1);
    assert!(wait_until(Duration::from_secs(10), || backlog(&read()) == 0));
    assert_eq!(outcomes(&read()), [1, 1, 1]);
    local.stop();
}

/// The first column of the table "All metrics" in docs/running.md.
fn documented_metrics() -> BTreeSet<String> {
    let page = include_str!("../../../docs/running.md");
    let (_, section) = page.split_once("## All metrics").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `retell_webhook_"));
    rows.map(|row| format!("retell_webhook_{}", row.split('`').next().unwrap())).collect()
}

#[test]
fn the_documentation_lists_exactly_the_metrics() {
    let home = TestEnv::new();
    let server = home.start_server();
    let mut printed = BTreeSet::new();
    for (name, kind) in read_metrics(&server).types {
        printed.insert(match kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name,
        });
    }
    let documented = documented_metrics();
    // Some metrics exist only on some systems.
    assert!(printed.is_subset(&documented), "not documented: {:?}", printed.difference(&documented));
    if cfg!(target_os = "linux") {
        assert_eq!(printed, documented);
    }
}
