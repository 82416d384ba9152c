//! Companies with keys and routes of their own, and reading them again while the receiver runs.

use std::fs;

use crate::support::bodies::{event, sample};
use crate::support::client::{Answer, WEBHOOK, get, post_to};
use crate::support::home::Home;
use crate::support::server::Server;
use crate::support::signing::{KEY, now_ms, sign, sign_with};

const ACME: &str = "key_acme_0123456789abcdef";
const ACME_ROUTE: &str = "/api/v1/webhook/retell/acme";

fn company(slug: &str, key: &str) -> String {
    format!("[[companies]]\nslug = \"{slug}\"\nkeys = [\"{key}\"]\nagents = [\"agent_1\"]\n")
}

fn configure(home: &Home, text: &str) {
    fs::create_dir_all(home.path().join("config")).unwrap();
    fs::write(home.path().join("config/local.toml"), text).unwrap();
}

fn post_with(server: &Server, path: &str, key: &str, body: &[u8]) -> Answer {
    post_to(server.address(), path, body, &sign_with(key, body, now_ms()))
}

#[test]
fn each_company_has_a_route_and_keys_of_its_own() {
    let home = Home::new();
    configure(&home, &company("acme", ACME));
    let server = home.start();
    let body = event("call_ended", "call_1");
    assert_eq!(post_with(&server, ACME_ROUTE, ACME, &body).status, 200);
    assert_eq!(post_with(&server, &format!("{ACME_ROUTE}/"), ACME, &body).json()["duplicate"], true);
    assert_eq!(post_with(&server, ACME_ROUTE, KEY, &event("call_ended", "call_2")).status, 401);
    assert_eq!(post_with(&server, WEBHOOK, ACME, &event("call_ended", "call_2")).status, 401);
    for said in ["signed with the key of company `default`", "signed with the key of company `acme`"] {
        assert!(server.prints(said), "{said}: {}", server.output());
    }
    // The same bytes for another company are an event of their own.
    let answer = post_with(&server, WEBHOOK, KEY, &body);
    assert_eq!((answer.status, answer.is_duplicate()), (200, false));
    let inbound = post_with(&server, &format!("{ACME_ROUTE}/inbound"), ACME, &sample("15_"));
    assert_eq!(inbound.status, 200, "{}", inbound.text());

    let companies: Vec<_> = home.export().iter().map(|kept| kept.line["company"].clone()).collect();
    assert_eq!(companies, ["acme", "default", "acme"]);
    let test = server.get(&format!("{ACME_ROUTE}/test"));
    assert!(test.json()["webhook_url"].as_str().unwrap().ends_with(ACME_ROUTE), "{}", test.text());
}

#[test]
fn an_unknown_company_is_not_found_whatever_the_signature() {
    let home = Home::new();
    configure(&home, &company("acme", ACME));
    let server = home.start();
    let body = event("call_ended", "call_1");
    for path in ["/api/v1/webhook/retell/nobody", "/api/v1/webhook/retell/nobody/inbound"] {
        assert_eq!(post_to(server.address(), path, &body, &sign(&body)).status, 404, "{path}");
        assert_eq!(post_to(server.address(), path, &body, "v=1,d=00").status, 404, "{path}");
    }
    assert_eq!(get(server.address(), "/api/v1/webhook/retell/nobody/test").status, 404);
    assert!(home.export().is_empty());
}

#[test]
fn an_agent_of_somebody_else_is_taken_and_warned_about() {
    let home = Home::new();
    configure(&home, &company("acme", ACME));
    let server = home.start();
    let strange = event("call_ended", "call_1");
    let strange = String::from_utf8(strange).unwrap().replace("agent_1", "agent_2").into_bytes();
    assert_eq!(post_with(&server, ACME_ROUTE, ACME, &strange).status, 200);
    assert!(server.prints("not in the company's `agents`"), "{}", server.output());
}

#[test]
fn send_takes_a_company() {
    let home = Home::new();
    configure(&home, &company("acme", ACME));
    let server = home.start();
    home.run_well(&["send", "call_ended", "--company", "acme", "--to", &server.url()]);
    assert_eq!(home.export()[0].line["company"], "acme");
    let ran = home.run(&["send", "call_ended", "--company", "nobody", "--to", &server.url()]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("there is no company `nobody`"), "{ran:?}");
}

#[test]
fn hanging_up_reads_companies_keys_and_handlers_again() {
    let home = Home::new();
    configure(&home, &company("acme", ACME));
    let server = home.start();
    let more = "[[handlers]]\nname = \"only_ended\"\nkind = \"log\"\nevents = [\"call_ended\"]\n";
    let globex = "[[companies]]\nslug = \"globex\"\nkeys = \"key_globex_0123456789\"\n";
    let rotated = "key_acme_fedcba9876543210";
    configure(&home, &format!("{}{}{more}", company("acme", rotated), globex));
    server.signal("-HUP");
    assert!(server.prints("were read again"), "{}", server.output());
    let body = event("call_ended", "call_1");
    assert_eq!(post_with(&server, ACME_ROUTE, ACME, &body).status, 401);
    assert_eq!(post_with(&server, ACME_ROUTE, rotated, &body).status, 200);
    let globex = "/api/v1/webhook/retell/globex";
    assert_eq!(post_with(&server, globex, "key_globex_0123456789", &body).status, 200);
    assert!(server.prints("call_1"), "the new handler logs: {}", server.output());

    configure(&home, "[server]\nbody_limit_bytes = 4096\n");
    server.signal("-HUP");
    assert!(server.prints("take a restart: server.body_limit_bytes"), "{}", server.output());
    assert_eq!(post_with(&server, ACME_ROUTE, rotated, &body).status, 404);
    assert_eq!(server.deliver(&body).status, 200);
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let home = Home::new();
    configure(&home, &company("acme", ACME));
    let server = home.start();
    let bad = [
        ("not toml [", "not valid TOML"),
        ("[[companies]]\nslug = \"Bad Slug\"\nkeys = \"key_0123456789abcdef\"\n", "companies[0].slug"),
        ("[[handlers]]\nname = \"x\"\nkind = \"nothing\"\n", "expected log, call_store"),
    ];
    for (text, why) in bad {
        configure(&home, text);
        server.signal("-HUP");
        assert!(server.prints(why), "{why}: {}", server.output());
        assert!(server.prints("SIGHUP: nothing was changed"));
        let body = event("call_ended", why);
        assert_eq!(post_with(&server, ACME_ROUTE, ACME, &body).status, 200);
    }
}
