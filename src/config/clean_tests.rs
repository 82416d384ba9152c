//! What does not belong to a value is removed, and what cannot be used is refused by name.

use super::tests::{KEY, from_env, from_file};
use super::*;

#[test]
fn quotes_marks_and_blanks_around_values_are_removed() {
    let marked = |value: &str| {
        [
            format!("\"{value}\""),
            format!("'{value}'"),
            format!("\u{feff}{value}"),
            format!(" {value}\r\n"),
            format!("{value}\u{a0}"),
        ]
    };
    for key in marked(KEY) {
        assert_eq!(from_env(&[("RETELL_API_KEY", &key)]).unwrap().security.keys[0].expose(), KEY, "{key:?}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &key).unwrap();
        for path in marked(file.path().to_str().unwrap()) {
            let settings = from_env(&[("RETELL_API_KEY_FILE", &path)]).unwrap();
            assert_eq!(settings.security.keys[0].expose(), KEY, "{key:?} in {path:?}");
        }
        let table = format!("[security]\nkeys = [{0}]\n[ops]\ntoken = {0}\n", serde_json::Value::from(key.as_str()));
        let settings = from_file("local.toml", &table, &[("RETELL_API_KEY", "")]);
        assert!(settings.unwrap_err().contains("one of the API keys"), "{table}");
    }
    let settings = from_env(&[("RETELL_API_KEY", &format!("\"{KEY}\", '{KEY}1'"))]).unwrap();
    assert_eq!(settings.security.keys.len(), 2);
    for (name, value, is_set) in [
        (
            "SERVER_URL",
            "https://example.ngrok.app",
            (|settings| settings.server.url.is_some()) as fn(&Settings) -> bool,
        ),
        ("PORT", "8123", |settings| settings.server.port == 8123),
        ("DATABASE_URL", "sqlite://data/x.db", |settings| settings.storage.url.path() == "data/x.db"),
        ("DEBUG", "true", |settings| settings.log.level == "debug"),
        ("RETELL_WEBHOOK__LOG__DIR", "var/log", |settings| settings.log.dir == "var/log"),
        ("RETELL_WEBHOOK__LOG__FORMAT", "json", |settings| settings.log.format == LogFormat::Json),
        ("RETELL_WEBHOOK__SERVER__HOST", "127.0.0.1", |settings| settings.server.host.is_loopback()),
        ("RETELL_WEBHOOK__OPS__TOKEN", KEY, |settings| settings.ops.token.as_ref().unwrap().expose() == KEY),
    ] {
        for value in marked(value) {
            assert!(is_set(&from_env(&[(name, &value)]).unwrap()), "{name}={value:?}");
        }
    }
    for empty in ["\"\"", "''"] {
        assert_eq!(from_env(&[("RETELL_API_KEY", empty), ("PORT", empty)]).unwrap(), Settings::default());
    }
}

#[test]
fn files_with_a_byte_order_mark_are_read() {
    let settings = from_file("local.toml", "\u{feff}[server]\nport = 8123\n", &[]).unwrap();
    assert_eq!(settings.server.port, 8123);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), format!("\u{feff}RETELL_API_KEY='\"{KEY}\"'\r\nPORT=8123\r\n")).unwrap();
    let sources = ConfigSources::from_layers(folder.path(), std::iter::empty()).unwrap();
    let settings = Settings::load(&sources).unwrap();
    assert_eq!((settings.security.keys[0].expose(), settings.server.port), (KEY, 8123));
}

#[test]
fn the_home_folder_is_replaced_and_other_variables_are_refused() {
    let tables = |path: &str| {
        format!(
            "[storage]\nurl = \"sqlite://{path}/x.db\"\ndata_dir = \"{path}/data\"\n[log]\ndir = \"{path}/logs\"\n\
             [[handlers]]\nname = \"f\"\nkind = \"file\"\npath = \"{path}/events.jsonl\"\n\
             [[handlers]]\nname = \"e\"\nkind = \"exec\"\ncommand = [\"{path}/program\", \"~\", \"$X\"]\n\
             [[functions]]\nname = \"weather\"\nurl = \"https://example.com\"\nparameters_file = \"{path}/schema.json\"\n\
             [[inbound.rules]]\nname = \"r\"\nfrom = [\"@{path}/vip.txt\"]\n"
        )
    };
    for home in ["~", "${HOME}", "$HOME"] {
        let settings = from_file("local.toml", &tables(home), &[("HOME", "/home/ada")]).unwrap();
        let expected = from_file("local.toml", &tables("/home/ada"), &[]).unwrap();
        assert_eq!(settings, expected, "{home}");
        assert!(from_file("local.toml", &tables(home), &[]).unwrap_err().contains("HOME is not set"), "{home}");
    }
    for (line, key) in [
        ("[storage]\nurl = \"sqlite://~ada/x.db\"", "storage.url"),
        ("[storage]\nurl = \"sqlite:///~/x.db\"", "storage.url"),
        ("[storage]\ndata_dir = \"${DATA}\"", "storage.data_dir"),
        ("[log]\ndir = \"/var/$USER\"", "log.dir"),
        ("[log]\ndir = \"lo\u{200b}gs\"", "log.dir"),
        ("[[handlers]]\nname = \"f\"\nkind = \"file\"\npath = \"~x/events.jsonl\"", "handlers[0].path"),
        ("[[handlers]]\nname = \"f\"\nkind = \"forward\"\nurl = \"https://example.com/a b\"", "handlers[0].url"),
        ("[server]\nurl = \"https://exam ple.com\"", "server.url"),
    ] {
        let error = from_file("local.toml", line, &[("HOME", "/home/ada")]).unwrap_err();
        assert!(error.contains(&format!("config/local.toml:{}: {key}: ", line.lines().count())), "{error}");
    }
    let error = from_env(&[("DATABASE_URL", "sqlite://$DATA/x.db")]).unwrap_err();
    assert!(error.starts_with("environment variable DATABASE_URL: storage.url: "), "{error}");
    let error = from_env(&[("RETELL_API_KEY_FILE", "~ada/key")]).unwrap_err();
    assert!(error.starts_with("environment variable RETELL_API_KEY_FILE: not the path"), "{error}");
}

#[test]
fn texts_for_people_and_other_programs_keep_their_blanks_and_quotes() {
    let table = "[[handlers]]\nname = \"f\"\nkind = \"forward\"\nurl = \" https://example.com \"\nheaders = { etag = '\"a\"' }\n\
                 [[inbound.rules]]\nname = \"r\"\ndynamic_variables = { url = \" $x \", path = \"~\" }\n";
    let settings = from_file("local.toml", table, &[]).unwrap();
    assert_eq!(settings.handlers[0].url.as_ref().unwrap().expose(), "https://example.com");
    assert_eq!(settings.handlers[0].headers["etag"].expose(), "\"a\"");
    let variables = &settings.inbound.rules[0].dynamic_variables;
    assert_eq!((variables["url"].as_str(), variables["path"].as_str()), (" $x ", "~"));
}

#[test]
fn an_environment_without_its_file_and_an_unknown_debug_value_are_errors() {
    let error = from_file("staging.toml", "", &[("RUN_ENV", "prod")]).unwrap_err();
    assert!(error.starts_with("environment variable RUN_ENV = \"prod\": the file "), "{error}");
    assert!(error.contains("config/prod.toml does not exist") && error.contains("has staging.toml. "), "{error}");
    assert!(from_file("prod.toml", "", &[("RUN_ENV", "prod")]).is_ok());
    let error = from_env(&[("DEBUG", "banana")]).unwrap_err();
    let expected = "environment variable DEBUG = \"banana\": expected true, yes, on or 1, or false, no, off or 0";
    assert_eq!(error, expected);
    for (value, level) in
        [("1", "debug"), ("Yes", "debug"), ("on", "debug"), ("0", "info"), ("No", "info"), ("off", "info")]
    {
        assert_eq!(from_env(&[("DEBUG", value)]).unwrap().log.level, level, "{value}");
    }
}

#[test]
fn a_public_http_url_is_a_warning() {
    let warns = |url: &str| {
        let warnings = from_env(&[("SERVER_URL", url), ("RETELL_API_KEY", KEY)]).unwrap().warnings(8000);
        warnings.iter().any(|warning| {
            warning
                .to_string()
                .starts_with("environment variable SERVER_URL: server.url: it is a public http:// address")
        })
    };
    assert!(warns("http://hooks.example.com") && warns("http://hooks.example.com "));
    assert!(!warns("https://hooks.example.com") && !warns("http://localhost:8000") && !warns("http://10.0.0.5:8000"));
}
