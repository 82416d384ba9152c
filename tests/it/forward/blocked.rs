//! Blocked destinations and invalid settings.

use super::{forward_handler_config, start_with_forward_handler};
use crate::support::bodies::event_body;
use crate::support::destination::{DestinationServer, header_response, status_response};
use crate::support::test_env::TestEnv;

#[test]
fn invalid_settings_are_refused_at_start() {
    for (lines, expected) in [
        ("", "handlers[0] `crm`: url: "),
        ("url = \"crm.example.com/s3cr3t\"", "url: it is not an http or https URL"),
        ("url = \"http://169.254.169.254/s3cr3t\"", "always refused"),
        ("url = \"http://[::ffff:169.254.169.254]/s3cr3t\"", "always refused"),
        ("url = \"https://a.example/s3cr3t\"\nurls = [\"https://b.example\"]", "set either url or urls"),
        ("url = \"https://a.example\"\nsecret = \"s3cr3t\"", "secret: expected whsec_"),
        ("url = \"https://a.example\"\nheaders = { Host = \"s3cr3t\" }", "headers: `host`"),
        ("url = \"https://a.example\"\nmax_redirects = 20", "max_redirects"),
        ("url = \"https://a.example\"\n[egress]\nallowlist = [\"http://s3cr3t\"]", "egress.allowlist: entry 1"),
    ] {
        let home = TestEnv::new();
        home.write_config(&forward_handler_config(lines));
        for ran in [home.run(&["config", "check"]), home.start_expecting_exit()] {
            assert!(ran.exit_code == Some(1) && ran.output().contains(expected), "{lines}: {ran:?}");
            assert!(!ran.output().contains("s3cr3t"), "{ran:?}");
        }
    }
    let home = TestEnv::new();
    home.write_config(&forward_handler_config("url = \"http://10.0.0.5/hook\""));
    assert_eq!(home.run_ok(&["config", "check"]).stdout, "ok\n", "a literal internal address is allowed");
}

#[test]
fn allowed_destinations_are_set_in_files_only() {
    for (name, value, key) in [
        ("RETELL_WEBHOOK__EGRESS__ALLOW_PRIVATE_NETWORKS", "true", "egress.allow_private_networks"),
        ("RETELL_WEBHOOK__EGRESS__ALLOWLIST", "10.0.0.0/8", "egress.allowlist"),
        ("RETELL_WEBHOOK__SECURITY__VERIFY", "false", "security.verify"),
    ] {
        let home = TestEnv::new().with_env(name, value);
        let ran = home.run(&["config", "check"]);
        let names_key = ran.stderr.contains(key) && ran.stderr.contains("file only") && ran.stderr.contains("unset");
        assert!(ran.exit_code == Some(1) && names_key, "{name}: {ran:?}");
    }
    let home = TestEnv::new();
    home.write_config(
        "[egress]\nallowlist = [\"10.0.0.0/8\", \"crm.internal\"]\nallow_private_networks = true\n[security]\nverify = false\n",
    );
    assert!(home.run_ok(&["config", "check"]).stdout.starts_with("ok"));
    let on = TestEnv::new().with_env("RETELL_WEBHOOK__SECURITY__VERIFY", "true");
    assert_eq!(on.run_ok(&["config", "check"]).stdout, "ok\n");
}

#[test]
fn a_redirect_to_an_internal_address_is_not_followed() {
    let inside = DestinationServer::start();
    let there = inside.url().replace("127.0.0.1", "127.0.0.2") + "/s3cr3t";
    let sink = DestinationServer::start_with(move |_, _| header_response(307, "location", &there));
    let (_home, server) = start_with_forward_handler(&format!("url = \"{}\"\nmax_redirects = 3", sink.url()));
    server.post_signed(&event_body("call_ended", "call_1"));
    assert!(server.wait_for_output("127.0.0.2 is a loopback address"), "{}", server.output());
    assert!(!server.output().contains("s3cr3t"));
    assert_eq!((sink.received().len(), inside.received().len()), (1, 0), "dead after the first attempt");
}

#[test]
fn redirects_are_not_followed_by_default() {
    let sink = DestinationServer::start_with(|_, got| {
        if got.path == "/a" { header_response(308, "location", "/b") } else { status_response(200) }
    });
    let (_home, server) = start_with_forward_handler(&format!("url = \"{}/a\"", sink.url()));
    server.post_signed(&event_body("call_ended", "call_1"));
    assert!(server.wait_for_output("set `url` to its target"), "{}", server.output());
    drop(server);
    let (_home, server) = start_with_forward_handler(&format!("url = \"{}/a\"\nmax_redirects = 1", sink.url()));
    server.post_signed(&event_body("call_ended", "call_1"));
    let got = sink.wait_for(3);
    assert_eq!((got[2].path.as_str(), got[2].body.as_ref()), ("/b", &*event_body("call_ended", "call_1")));
}
