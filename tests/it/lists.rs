//! The lists of the commands: their common options, and what they print without rows.

use std::time::Duration;

use crate::support::bodies::event_body;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

/// Every list has the same filters, and says whether they match nothing or nothing is stored.
#[test]
fn lists_have_the_same_filters() {
    let home = TestEnv::new();
    let server = home.start_server();
    let lists: [(&[&str], &str); 8] = [
        (&["events", "list"], "no events are stored"),
        (&["calls", "list"], "no calls are stored"),
        (&["chats", "list"], "no chats are stored"),
        (&["deliveries", "list"], "no deliveries are stored"),
        (&["dead", "list"], "no dead letters are stored"),
        (&["rejected", "list"], "no rejected requests are stored"),
        (&["functions", "calls"], "no function was invoked"),
        (&["appointments", "list"], "no upcoming appointments"),
    ];
    for (list, empty) in lists {
        assert!(home.run_ok(list).stdout.starts_with(empty), "{list:?}: {}", home.run_ok(list).stdout);
        let filtered = [list, &["--company", "default", "--since", "1h", "--until", "2099-01-01"]].concat();
        let text = home.run_ok(&filtered).stdout;
        assert!(text.contains(" match these options"), "{filtered:?}: {text}");
    }
    for (event, call_id) in [("call_started", "call_1"), ("call_ended", "call_1"), ("call_analyzed", "call_1")] {
        assert_eq!(server.post_signed(&event_body(event, call_id)).status, 200);
    }
    let listed = |more: &[&str]| home.list_events(more).len();
    assert_eq!(listed(&["--event", "call_started", "--event", "call_ended"]), 2);
    assert_eq!((listed(&["--company", "default"]), listed(&["--until", "1h"]), listed(&["--since", "1h"])), (3, 0, 3));
    let deliveries = || {
        let args =
            ["deliveries", "list", "--handler", "log", "--event", "call_ended", "--event", "call_analyzed", "--json"];
        home.run_ok(&args).json().as_array().unwrap().len()
    };
    assert!(wait_until(Duration::from_secs(15), || deliveries() == 2), "{}", deliveries());
    let calls = |more: &[&str]| home.run_ok(&[&["calls", "list", "--json"], more].concat()).json();
    assert!(wait_until(Duration::from_secs(15), || calls(&["--since", "1h"])[0]["call_id"] == "call_1"));
    assert!(calls(&["--until", "1h"]).as_array().unwrap().is_empty());
}
