use std::collections::BTreeMap;

use super::load::suggest;
use super::*;

pub(super) const KEY: &str = "key_9f27a1c4de5588b2031fa7c0";

pub(super) fn from_env(vars: &[(&str, &str)]) -> Result<Settings, String> {
    let env = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::load(&ConfigSources { env, ..ConfigSources::default() }).map_err(|error| error.to_string())
}

pub(super) fn from_file(name: &str, text: &str, vars: &[(&str, &str)]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    std::fs::write(folder.path().join("config").join(name), text).unwrap();
    let env: BTreeMap<_, _> = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::load(&ConfigSources { base_dir: Some(folder.path().into()), env, ..ConfigSources::default() })
        .map_err(|error| error.to_string())
}

#[test]
fn shipped_default_file_has_every_key_and_the_built_in_values() {
    let shipped = include_str!("../../config/default.toml");
    assert_eq!(from_file("default.toml", shipped, &[]).unwrap(), Settings::default());
    let uncommented: String =
        shipped.lines().map(|line| line.trim_start_matches(['#', ' ']).to_owned() + "\n").collect();
    for key in suggest::valid_keys() {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let has_key = uncommented.lines().any(|line| line.starts_with(&format!("{name} =")));
        let has_table = uncommented.contains(&format!("[{key}]"));
        assert!(has_key || has_table || table == "appointments.services", "{key} is not in config/default.toml");
    }
}

/// `UPDATE_GENERATED=1 cargo test generated_files` writes the files.
#[test]
fn generated_files_match_the_settings_structs() {
    let schema = serde_json::to_string_pretty(&reference::schema()).unwrap() + "\n";
    for (path, text) in [
        ("config/default.toml", reference::default_toml()),
        ("docs/configuration.md", reference::markdown()),
        ("docs/configuration.schema.json", schema),
    ] {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(file, text).unwrap();
        } else {
            let committed = std::fs::read_to_string(file).unwrap_or_default();
            assert!(committed == text, "{path} is outdated: UPDATE_GENERATED=1 cargo test generated_files writes it");
        }
    }
}

/// The schema covers exactly the keys that are read, and the defaults it states for handlers are those that are used.
#[test]
fn the_schema_describes_every_key_and_the_defaults_of_handlers() {
    let schema = reference::schema();
    for (table, keys) in suggest::tables() {
        let properties = reference::properties(reference::node_at(&schema, table)).as_object().unwrap();
        let mut expected: Vec<&str> = keys.to_vec();
        expected.sort_unstable();
        assert!(properties.keys().eq(&expected), "{table}: {expected:?}");
        for (key, property) in properties {
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 20), "{table}.{key}");
            let has_value = property.get("default").or(property["examples"].get(0)).is_some();
            assert!(has_value || reference::properties(property).is_object() || table.is_empty(), "{table}.{key}");
        }
    }
    let properties = reference::properties(&schema["properties"]["handlers"]).as_object().unwrap();
    let defaults =
        properties.iter().filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone())));
    let mut table: serde_json::Map<_, _> = defaults.collect();
    table.extend([
        ("name".into(), "x".into()),
        ("kind".into(), "exec".into()),
        ("command".into(), ["x"].as_slice().into()),
    ]);
    table.insert("path".into(), "x".into());
    let stated: HandlerSettings = serde_json::from_value(table.into()).unwrap();
    let unset = HandlerSettings {
        command: stated.command.clone(),
        path: stated.path.clone(),
        ..HandlerSettings::new("x", HandlerKind::Exec)
    };
    assert_eq!(stated.delivery_settings(), unset.delivery_settings());
    assert_eq!(stated.exec_settings(), unset.exec_settings());
    assert_eq!(stated.file_settings(), unset.file_settings());
}

#[test]
fn every_line_of_the_example_environment_is_valid() {
    for line in include_str!("../../.env.example").lines() {
        let Some(assignment) = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        else {
            assert!(line.is_empty() || line.starts_with("# "), "every line is commented out: {line}");
            continue;
        };
        let (name, value) = assignment.split_once('=').unwrap();
        let refused = from_env(&[(name, value)]).err();
        let placeholder = value.starts_with("your_") || name.ends_with("_FILE");
        assert_eq!(refused.is_some(), placeholder, "{name}: {refused:?}");
    }
}

#[test]
fn later_layers_override_earlier_ones() {
    let file = "[server]\nport = 7001\nhost = \"127.0.0.1\"\n";
    assert_eq!(from_file("default.toml", file, &[]).unwrap().server.port, 7001);
    assert_eq!(from_file("local.toml", file, &[("PORT", "7002")]).unwrap().server.port, 7002);
    assert_eq!(from_file("blue.toml", file, &[("RUN_ENV", "blue")]).unwrap().server.port, 7001);
    assert_eq!(from_file("blue.toml", file, &[]).unwrap().server.port, 8000);
    let both = [("PORT", "7002"), ("RETELL_WEBHOOK__SERVER__PORT", "7003")];
    assert_eq!(from_env(&both).unwrap().server.port, 7003);
    assert!(from_file("default.toml", file, &[("RUN_ENV", "../etc")]).unwrap_err().contains("RUN_ENV"));
}

#[test]
fn conventional_names_work_and_empty_variables_are_unset() {
    let settings = from_env(&[
        ("SERVER_URL", "https://example.ngrok.app"),
        ("DEBUG", "true"),
        ("DATABASE_URL", "sqlite://elsewhere.db"),
        ("PORT", ""),
        ("RETELL_API_KEY", &format!("{KEY}, {KEY}1")),
        ("RETELL_WEBHOOK_SECRET_KEY", &format!("{KEY},{KEY}2")),
    ])
    .unwrap();
    assert_eq!(settings.server.port, 8000);
    assert_eq!(settings.server.public_url(1), "https://example.ngrok.app");
    assert_eq!(settings.log.level, "debug");
    assert_eq!(settings.storage.url.to_string(), "sqlite://elsewhere.db");
    let keys: Vec<_> = settings.security.keys.iter().map(|key| key.expose().to_owned()).collect();
    assert_eq!(keys, [KEY.to_owned(), format!("{KEY}1"), format!("{KEY}2")]);
    assert_eq!(from_env(&[("RETELL_API_KEY", "")]).unwrap().security.keys, []);
}

#[test]
fn prefixed_variable_accepts_a_list_of_keys() {
    let settings = from_env(&[
        ("RETELL_WEBHOOK__SECURITY__KEYS", &format!("{KEY},{KEY}1")),
        ("RETELL_WEBHOOK_SECRET_KEY", &format!("{KEY}9")),
    ]);
    assert_eq!(settings.unwrap().security.keys.len(), 2);
}

#[test]
fn a_key_comes_from_a_variable_or_a_file_but_not_both() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(from_env(&[("RETELL_API_KEY_FILE", path)]).unwrap().security.keys[0].expose(), KEY);
    let both = from_env(&[("RETELL_API_KEY_FILE", path), ("RETELL_API_KEY", KEY)]).unwrap_err();
    assert!(both.contains("RETELL_API_KEY_FILE, not both"), "{both}");
    assert!(from_env(&[("RETELL_API_KEY_FILE", "/nowhere")]).unwrap_err().contains("RETELL_API_KEY_FILE: cannot read"));
}

#[test]
fn invalid_api_keys_are_refused_by_variable_and_never_shown() {
    for value in ["your_api_key_here", "   ", "sh0rt_k3y", &format!("{KEY},")] {
        let error = from_env(&[("RETELL_API_KEY", value)]).unwrap_err();
        assert!(error.contains("RETELL_API_KEY: it is"), "{error}");
        assert!(!error.contains("sh0rt_k3y") && !error.contains(KEY), "{error}");
    }
    let error = from_file("local.toml", "[security]\nkeys = [\"changeme\"]\n", &[]).unwrap_err();
    assert!(error.contains("security.keys[0]"), "{error}");
}

#[test]
fn unknown_keys_are_errors_with_source_and_suggestion() {
    let error = from_file("local.toml", "[server]\nprot = 1\n", &[]).unwrap_err();
    assert!(error.contains("config/local.toml:2: server.prot: unknown key; did you mean `server.port`?"), "{error}");
    let error = from_env(&[("RETELL_WEBHOOK__SECURTY__VERIFY", "true")]).unwrap_err();
    assert!(
        error.contains("variable RETELL_WEBHOOK__SECURTY__VERIFY: securty: unknown key; did you mean `security`?"),
        "{error}"
    );
    let error = from_file("local.toml", "[[handlers]]\nname = \"a\"\nkind = \"log\"\nevent = []\n", &[]).unwrap_err();
    assert!(
        error.contains("config/local.toml:4: handlers[0].event: unknown key; did you mean `handlers.events`?"),
        "{error}"
    );
}

#[test]
fn type_and_syntax_errors_name_the_place_without_the_value() {
    let error = from_file("local.toml", "[server]\nport = \"s3cret-text\"\n", &[]).unwrap_err();
    assert!(error.contains("server.port") && error.contains("local.toml"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let error = from_file("local.toml", "[security]\nkeys = [\"key_s3cret", &[]).unwrap_err();
    assert!(error.contains("local.toml") && error.contains("local.toml:2: "), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let error = from_file("local.toml", "[security]\nkeys = 5\nverify = \"s3cret\"\n", &[]).unwrap_err();
    assert!(error.contains("security.") && !error.contains("s3cret"), "{error}");
    let error = from_file("local.toml", "[[handlers]]\nname = \"a\"\nkind = \"s3cret\"\n", &[]).unwrap_err();
    assert!(!error.contains("s3cret") && error.contains("call_store"), "{error}");
    for (name, value) in [
        ("RETELL_WEBHOOK__SECURITY", "key_s3cret_s3cret_s3cret"),
        ("RETELL_WEBHOOK__LOG__FORMAT", "key_s3cret_s3cret_s3cret"),
        ("SERVER_URL", "key_s3cret_s3cret_s3cret"),
        ("RETELL_API_KEY_FILE", "key_s3cret_s3cret_s3cret"),
        ("RETELL_WEBHOOK__OPS__LISTEN", "key_s3cret_s3cret_s3cret"),
        ("PORT", "key_s3cret_s3cret_s3cret"),
    ] {
        let error = from_env(&[(name, value)]).unwrap_err();
        assert!(!error.contains("s3cret"), "{name}: {error}");
    }
}

#[test]
fn verification_cannot_be_off_with_a_public_url() {
    let off = "[security]\nverify = false\n";
    let error = from_file("local.toml", off, &[("SERVER_URL", "https://example.ngrok.app")]).unwrap_err();
    assert!(error.contains("security.verify"), "{error}");
    let settings = from_file("local.toml", off, &[]).unwrap();
    assert!(settings.warnings(8000).iter().any(|line| line.to_string().contains("VERIFICATION IS OFF")));
}

#[test]
fn security_sensitive_keys_are_set_in_files_only() {
    for (name, value) in [
        ("RETELL_WEBHOOK__SECURITY__VERIFY", "false"),
        ("RETELL_WEBHOOK__SECURITY__VERIFY", "0"),
        ("retell_webhook__security__verify", "off"),
        ("RETELL_WEBHOOK__EGRESS__ALLOW_PRIVATE_NETWORKS", "true"),
        ("RETELL_WEBHOOK__EGRESS__ALLOWLIST", "10.0.0.0/8"),
        ("RETELL_WEBHOOK__EGRESS.ALLOWLIST", "10.0.0.0/8"),
        ("Retell_Webhook__Egress__Allow_Private_Networks", "1"),
        ("RETELL_WEBHOOK__HANDLERS[0]__KIND", "exec"),
    ] {
        for layers in
            [from_env(&[(name, value)]), from_file("local.toml", "[egress]\nallowlist = []\n", &[(name, value)])]
        {
            assert!(layers.is_err(), "{name}={value}");
        }
    }
    let both = [("RETELL_WEBHOOK__SECURITY__VERIFY", "true")];
    assert!(from_file("local.toml", "[security]\nverify = false\n", &both).unwrap().security.verify);
}

#[test]
fn warnings_name_the_key_to_change() {
    let settings = from_env(&[("SERVER_URL", "http://localhost:3000"), ("RETELL_API_KEY", KEY)]).unwrap();
    let texts = |settings: &Settings| settings.warnings(8000).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        texts(&settings),
        ["environment variable SERVER_URL: server.url: the URL has port 3000, but the receiver listens on 8000: set \
             SERVER_URL=http://localhost:8000 (or PORT=3000)"]
    );
    assert_eq!(settings.warnings(0), []);
    assert_eq!(from_env(&[("RETELL_API_KEY", KEY)]).unwrap().warnings(8000), []);
    assert!(texts(&from_env(&[]).unwrap())[0].contains("security.keys: no API key is set"));
}

#[test]
fn other_invalid_values_are_refused_by_key() {
    let refused = |vars: &[(&str, &str)], key: &str| {
        let error = from_env(vars).unwrap_err();
        assert!(error.contains(key), "{error}");
    };
    refused(&[("SERVER_URL", "example.ngrok.app")], "server.url");
    refused(&[("SERVER_URL", "https://example.ngrok.app/webhook")], "without a path");
    refused(&[("DATABASE_URL", "mysql://x")], "storage.url");
    refused(&[("RETELL_WEBHOOK__SECURITY__SIGNATURE_TOLERANCE_MS", "0")], "security.signature_tolerance_ms");
    refused(&[("RETELL_WEBHOOK__SECURITY__SIGNATURE_TOLERANCE_MS", "86400000")], "security.signature_tolerance_ms");
    refused(&[("RETELL_WEBHOOK__SERVER__INFLIGHT_LIMIT_BYTES", "1024")], "server.inflight_limit_bytes");
    refused(&[("RETELL_WEBHOOK__SERVER__BODY_LIMIT_BYTES", "1023")], "server.body_limit_bytes");
    let twice = "[[handlers]]\nname = \"a\"\nkind = \"log\"\n[[handlers]]\nname = \"a\"\nkind = \"log\"\n";
    assert!(from_file("local.toml", twice, &[]).unwrap_err().contains("handlers[1].name"));
}

#[test]
fn invalid_companies_are_refused_by_key() {
    let refused = |tables: &str| {
        let file = format!("[security]\nkeys = \"key_plain_route_0001\"\n{tables}");
        from_file("local.toml", &file, &[]).unwrap_err()
    };
    let table = |slug: &str, rest: &str| format!("[[companies]]\nslug = \"{slug}\"\n{rest}\n");
    let keys = "keys = [\"key_acme_0123456789\"]";
    for slug in ["a", "Acme", "ac me", "inbound", "test", "default", &"a".repeat(41)] {
        assert!(refused(&table(slug, keys)).contains("companies[0].slug"), "{slug}");
    }
    assert!(refused(&table("acme", "")).contains("companies[0] `acme`: keys: neither it nor api_key is set"));
    assert!(
        refused(&table("acme", "keys = \"your_api_key_here\""))
            .contains("companies[0] `acme`: keys: one of them is a placeholder")
    );
    let same_key = refused(&table("acme", "keys = \"key_plain_route_0001\""));
    assert!(same_key.contains("another company has the same key") && !same_key.contains("key_plain"));
    let twice = |first: &str, second: &str| refused(&(table("acme", first) + &table("other", second)));
    assert!(twice(keys, keys).contains("companies[1] `other`: keys: "));
    let agents = |key: &str| format!("keys = \"{key}\"\nagents = [\"agent_1\"]");
    assert!(
        twice(&agents("key_one_0123456789"), &agents("key_two_0123456789"))
            .contains("companies[1] `other`: agents = [\"agent_1\"]: ")
    );
    assert!(
        refused(&(table("acme", keys) + &table("acme", "keys = \"key_two_0123456789\"")))
            .contains("already the slug of an earlier company")
    );
    assert!(refused(&table("acme", "kees = []")).contains("did you mean `companies.keys`?"));
}

#[test]
fn a_reload_lists_keys_that_need_a_restart() {
    let before = Settings::default();
    let mut after = Settings::default();
    after.handlers.clear();
    after.security.keys.push(crate::base::secret::Secret::new("key_0123456789abcdef"));
    assert!(before.keys_requiring_restart(&after).is_empty());
    after.server.port = 9000;
    after.server.url = Some("https://example.com".parse().unwrap());
    assert_eq!(before.keys_requiring_restart(&after), ["server.port", "server.url"]);
}

#[test]
fn operator_access_needs_a_strong_token_or_loopback() {
    const TOKEN: &str = "RETELL_WEBHOOK__OPS__TOKEN";
    const LISTEN: &str = "RETELL_WEBHOOK__OPS__LISTEN";
    for token in ["   ", "sh0rt_t0ken", "your_ops_token_here", "xxxxxxxxxxxxxxxxxxxx", "with a space in the middle"] {
        let error = from_env(&[(TOKEN, token)]).unwrap_err();
        assert!(error.contains("ops.token: it ") && !error.contains("sh0rt"), "{error}");
    }
    assert!(from_env(&[(TOKEN, KEY), ("RETELL_API_KEY", KEY)]).unwrap_err().contains("one of the API keys"));
    assert!(from_env(&[(LISTEN, "0.0.0.0:9100")]).unwrap_err().contains("ops.listen: 0.0.0.0:9100 is not a loopback"));
    assert!(from_env(&[(LISTEN, "0.0.0.0:9100"), (TOKEN, "4f9c2d1e8b7a6053")]).is_ok());
    assert!(from_env(&[(LISTEN, "[::1]:9100")]).is_ok());
}

#[test]
fn the_log_file_can_be_turned_off() {
    assert_eq!(from_env(&[]).unwrap().log.directory(), Some(std::path::Path::new("logs")));
    assert_eq!(from_env(&[("RETELL_WEBHOOK__LOG__DIR", "off")]).unwrap().log.directory(), None);
    assert_eq!(from_file("local.toml", "[log]\ndir = \"\"\n", &[]).unwrap().log.directory(), None);
}
