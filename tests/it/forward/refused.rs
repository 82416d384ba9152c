//! Where nothing is sent, and settings that are refused.

use super::{forwarding, table};
use crate::support::bodies::event;
use crate::support::home::Home;
use crate::support::sink::{Sink, status, with_header};

#[test]
fn settings_that_would_not_do_are_refused_at_start() {
    for (lines, said) in [
        ("", "handler `crm`: url: "),
        ("url = \"crm.example.com/s3cr3t\"", "url: it is no http or https URL"),
        ("url = \"http://169.254.169.254/s3cr3t\"", "always refused"),
        ("url = \"http://[::ffff:169.254.169.254]/s3cr3t\"", "always refused"),
        ("url = \"https://a.example/s3cr3t\"\nurls = [\"https://b.example\"]", "either url or urls"),
        ("url = \"https://a.example\"\nsecret = \"s3cr3t\"", "secret: expected whsec_"),
        ("url = \"https://a.example\"\nheaders = { Host = \"s3cr3t\" }", "headers: `host`"),
        ("url = \"https://a.example\"\nredirects = 20", "redirects"),
        ("url = \"https://a.example\"\n[egress]\nallow = [\"http://s3cr3t\"]", "egress.allow[0]"),
    ] {
        let home = Home::new();
        home.configure(&table(lines));
        for ran in [home.run(&["config", "check"]), home.start_refused()] {
            assert!(ran.code == Some(1) && ran.output().contains(said), "{lines}: {ran:?}");
            assert!(!ran.output().contains("s3cr3t"), "{ran:?}");
        }
    }
    let home = Home::new();
    home.configure(&table("url = \"http://10.0.0.5/hook\""));
    assert_eq!(home.run_well(&["config", "check"]).stdout, "ok\n", "an address of the inside, written out, is meant");
}

#[test]
fn what_handlers_may_reach_is_set_in_files_only() {
    for (name, value, key) in [
        ("RETELL_WEBHOOK__EGRESS__ALLOW_PRIVATE", "true", "egress.allow_private"),
        ("RETELL_WEBHOOK__EGRESS__ALLOW", "10.0.0.0/8", "egress.allow"),
        ("RETELL_WEBHOOK__SECURITY__VERIFY", "false", "security.verify"),
    ] {
        let home = Home::new().with(name, value);
        let ran = home.run(&["config", "check"]);
        let said = ran.stderr.contains(key) && ran.stderr.contains("file only") && ran.stderr.contains("unset");
        assert!(ran.code == Some(1) && said, "{name}: {ran:?}");
    }
    let home = Home::new();
    home.configure(
        "[egress]\nallow = [\"10.0.0.0/8\", \"crm.internal\"]\nallow_private = true\n[security]\nverify = false\n",
    );
    assert!(home.run_well(&["config", "check"]).stdout.starts_with("ok"));
    let on = Home::new().with("RETELL_WEBHOOK__SECURITY__VERIFY", "true");
    assert_eq!(on.run_well(&["config", "check"]).stdout, "ok\n");
}

#[test]
fn a_redirect_into_the_inside_is_not_followed() {
    let inside = Sink::start();
    let there = inside.url().replace("127.0.0.1", "127.0.0.2") + "/s3cr3t";
    let sink = Sink::answering(move |_, _| with_header(307, "location", &there));
    let (_home, server) = forwarding(&format!("url = \"{}\"\nredirects = 3", sink.url()));
    server.deliver(&event("call_ended", "call_1"));
    assert!(server.prints("127.0.0.2 is a loopback address"), "{}", server.output());
    assert!(!server.output().contains("s3cr3t"));
    assert_eq!((sink.got().len(), inside.got().len()), (1, 0), "given up at once");
}

#[test]
fn redirects_are_off_unless_asked_for() {
    let sink =
        Sink::answering(|_, got| if got.path == "/a" { with_header(308, "location", "/b") } else { status(200) });
    let (_home, server) = forwarding(&format!("url = \"{}/a\"", sink.url()));
    server.deliver(&event("call_ended", "call_1"));
    assert!(server.prints("set the url to where it leads"), "{}", server.output());
    drop(server);
    let (_home, server) = forwarding(&format!("url = \"{}/a\"\nredirects = 1", sink.url()));
    server.deliver(&event("call_ended", "call_1"));
    let got = sink.wait_for(3);
    assert_eq!((got[2].path.as_str(), got[2].body.as_ref()), ("/b", &*event("call_ended", "call_1")));
}
