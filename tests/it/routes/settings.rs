//! Keys, URLs and other settings: the output at start, and the errors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::client::{WEBHOOK_PATH, request};
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign_with};
use crate::support::test_env::TestEnv;

fn file_mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Asserts that only the owner can access the folder, its subfolders and all files.
fn assert_all_private(folder: &Path) {
    assert_eq!(file_mode(folder), 0o700, "{}", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_all_private(&path);
        } else {
            assert_eq!(file_mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn without_verification_every_sender_is_trusted_but_only_json_is_accepted() {
    let home = TestEnv::without_key();
    home.write_config("[security]\nverify = false\n");
    let server = home.start_server();
    assert!(server.output().contains("security.verify = false: VERIFICATION IS OFF"), "{}", server.output());
    let body = event_body("call_ended", "call_unsigned");
    let answer = request(server.address(), "POST", WEBHOOK_PATH, &[], &body);
    assert_eq!((answer.status, answer.json()), (200, json!({ "received": true })));
    for invalid in [&b""[..], b"hello", b"{\"event\":", b"\xff"] {
        assert_eq!(request(server.address(), "POST", WEBHOOK_PATH, &[], invalid).status, 400, "{invalid:?}");
    }
    let odd = [("X-Retell-Signature", "nonsense")];
    assert_eq!(request(server.address(), "POST", "/webhook", &odd, b"[]").status, 200);
    assert_eq!(home.export_events().len(), 2);
}

#[test]
fn verification_cannot_be_off_with_a_public_url() {
    let home = TestEnv::new().with_env("SERVER_URL", "https://example.ngrok.app");
    home.write_config("[security]\nverify = false\n");
    let ran = home.start_expecting_exit();
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("security.verify"), "{ran:?}");
}

#[test]
fn a_development_key_is_created_once_and_send_signs_with_it() {
    let home = TestEnv::without_key();
    let path = home.path().join("data/dev.key");
    let server = home.start_server();
    assert!(server.output().contains("security.keys: no API key is set"), "{}", server.output());
    let key = fs::read_to_string(&path).unwrap();
    assert_eq!(file_mode(&path), 0o600);
    assert_all_private(&home.path().join("data"));
    assert!(!server.output().contains(key.trim()));
    let sent = home.run_ok(&["send", "call_ended", "--to", &server.url()]);
    assert!(sent.stdout.starts_with("200 "), "{sent:?}");
    drop(server);
    let _server = home.start_server();
    assert_eq!(fs::read_to_string(&path).unwrap(), key);
    assert!(home.export_events()[0].call_id().unwrap().starts_with("call_test_"));
}

#[test]
fn the_development_key_can_be_in_another_folder_than_the_database() {
    let home = TestEnv::without_key().with_env("RETELL_WEBHOOK__STORAGE__DATA_DIR", "private");
    let server = home.start_server();
    assert_eq!(file_mode(&home.path().join("private/dev.key")), 0o600);
    assert!(!home.path().join("data/dev.key").exists());
    let sent = home.run_ok(&["send", "call_ended", "--to", &server.url()]);
    assert!(sent.stdout.starts_with("200 "), "{sent:?}");
}

#[test]
fn invalid_keys_are_rejected_by_setting_name_and_never_shown() {
    let table = [
        ("RETELL_API_KEY", "key_short", "shorter"),
        ("RETELL_API_KEY", "your_api_key_here", "placeholder"),
        ("RETELL_WEBHOOK_SECRET_KEY", "<paste-your-key-here>", "placeholder"),
        ("RETELL_WEBHOOK_SECRET_KEY", "key_9f27a1c4de5588b2031fa7c0,key_brief", "shorter"),
        ("RETELL_API_KEY", "key_9f27a1c4de5588b2031fa7c0,,", "blank"),
        ("RETELL_API_KEY", "   ", "blank"),
        ("RETELL_WEBHOOK__SECURITY__KEYS", "key_little", "shorter"),
    ];
    for (name, value, reason) in table {
        let ran = TestEnv::without_key().with_env(name, value).start_expecting_exit();
        assert_eq!(ran.exit_code, Some(1), "{name}={value}");
        let expected_name = if name.contains("__") { "security.keys" } else { name };
        assert!(ran.stderr.contains(expected_name) && ran.stderr.contains(reason), "{ran:?}");
        let shown = value.split(',').any(|key| !key.trim().is_empty() && ran.output().contains(key));
        assert!(!shown, "the value is in the output: {ran:?}");
    }
}

#[test]
fn several_keys_or_a_key_file_are_accepted_and_an_empty_variable_is_unset() {
    let both = format!("{KEY}, {OTHER_KEY}");
    let home = TestEnv::without_key().with_env("RETELL_WEBHOOK_SECRET_KEY", &both).with_env("RETELL_API_KEY", "");
    fs::write(home.path().join("key"), format!("{KEY}\n")).unwrap();
    let server = home.start_server();
    let send = |address, by: &str, call_id: &str| {
        let body = event_body("call_ended", call_id);
        let signature = sign_with(by, &body, now_ms());
        request(address, "POST", WEBHOOK_PATH, &[("X-Retell-Signature", &signature)], &body).status
    };
    assert_eq!(send(server.address(), KEY, "call_1"), 200);
    assert_eq!(send(server.address(), OTHER_KEY, "call_2"), 200);
    let rows = home.list_events(&[]);
    assert_ne!(rows[0]["key_fingerprint"], rows[1]["key_fingerprint"]);
    drop(server);
    let from_file =
        TestEnv::without_key().with_env("RETELL_API_KEY_FILE", &home.path().join("key").display().to_string());
    let server = from_file.start_server();
    assert_eq!(send(server.address(), KEY, "call_3"), 200);
    assert_eq!(send(server.address(), OTHER_KEY, "call_4"), 401);
    let twice = from_file.with_env("RETELL_API_KEY", KEY).start_expecting_exit();
    assert_eq!(twice.exit_code, Some(1));
    assert!(twice.stderr.contains("RETELL_API_KEY_FILE"), "{twice:?}");
}

#[test]
fn a_local_url_with_another_port_is_reported_with_the_line_to_change() {
    let server = TestEnv::new().with_env("SERVER_URL", "http://localhost:3999").start_server();
    let right = format!("SERVER_URL=http://localhost:{}", server.address().port());
    assert!(server.output().contains("SERVER_URL: server.url: the URL has port 3999"), "{}", server.output());
    assert!(server.output().contains(&right), "{}", server.output());
    let quiet = TestEnv::new().with_env("SERVER_URL", "https://example.ngrok.app").start_server();
    assert!(!quiet.output().contains("WARNING"), "{}", quiet.output());
}

#[test]
fn an_unknown_setting_is_reported_with_the_nearest_valid_one() {
    let misspelt = TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__PROT", "8000").start_expecting_exit();
    assert_eq!(misspelt.exit_code, Some(1));
    assert!(
        misspelt.stderr.contains(": server.prot: unknown key") && misspelt.stderr.contains("`server.port`"),
        "{misspelt:?}"
    );
    let home = TestEnv::new();
    fs::create_dir(home.path().join("config")).unwrap();
    fs::write(home.path().join("config/local.toml"), "[security]\nsignature_tolerance = 5\n").unwrap();
    let ran = home.start_expecting_exit();
    assert_eq!(ran.exit_code, Some(1));
    assert!(
        ran.stderr.contains("config/local.toml:2: security.signature_tolerance: unknown key")
            && ran.stderr.contains("`security.signature_tolerance_ms`"),
        "{ran:?}"
    );
    fs::write(home.path().join("config/local.toml"), "[security]\nsignature_tolerance_ms = \"secret text\"\n").unwrap();
    let ran = home.start_expecting_exit();
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("security.signature_tolerance_ms") && !ran.stderr.contains("secret text"), "{ran:?}");
}

#[test]
fn the_environment_overrides_files_and_dotenv() {
    let home = TestEnv::without_key();
    fs::create_dir(home.path().join("config")).unwrap();
    fs::write(home.path().join("config/default.toml"), "[server]\nurl = \"http://default.example\"\n").unwrap();
    fs::write(home.path().join("config/local.toml"), "[server]\nurl = \"http://local.example\"\n").unwrap();
    fs::write(home.path().join(".env"), format!("RETELL_API_KEY={KEY}\n")).unwrap();
    let server = home.start_server();
    assert!(server.output().contains("http://local.example/api/v1/webhook/retell"), "{}", server.output());
    assert_eq!(server.post_signed(b"{}").status, 200);
    drop(server);
    let server = home.with_env("SERVER_URL", "http://environment.example").start_server();
    assert!(server.output().contains("http://environment.example/api/v1/webhook/retell"), "{}", server.output());
}

#[test]
fn a_public_url_without_a_key_is_not_ready() {
    let home = TestEnv::without_key().with_env("SERVER_URL", "https://example.ngrok.app");
    let server = home.start_server();
    let answer = server.health_details();
    assert_eq!((answer.status, &answer.json()["checks"]["storage"]), (503, &json!("ok")));
    assert_ne!(answer.json()["checks"]["keys"], "ok");
    drop(server);
    assert!(home.with_env("RETELL_API_KEY", KEY).start_server().is_ready());
}
