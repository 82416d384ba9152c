//! What the errors of invalid settings say.

use super::tests::from_file;
use super::*;

/// Writes the files into a folder, and loads the settings with it as the working directory.
fn from_layers(files: &[(&str, &str)], process: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let process = process.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let loaded = ConfigSources::from_layers(folder.path(), process).and_then(|sources| Settings::load(&sources));
    loaded.unwrap_err().to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn errors_name_the_file_and_line_or_the_variable() {
    const VARIABLE: &str = "RETELL_WEBHOOK__ALARMS__CHECK_INTERVAL_MS";
    let low = "expected 100 to 3600000 ms";
    let alarms = "# comment\n[alarms]\n\ncheck_interval_ms = 5\n";
    for name in ["config/default.toml", "config/local.toml"] {
        let error = from_layers(&[(name, alarms)], &[]);
        assert_eq!(error, format!("{name}:4: alarms.check_interval_ms: 5 ms is out of range; {low}"));
    }
    let dotenv = format!("# comment\nPORT=8001\nexport {VARIABLE}='6'\n");
    let files = [("config/local.toml", alarms), (".env", &dotenv)];
    let error = from_layers(&files, &[]);
    assert_eq!(error, format!(".env:3 ({VARIABLE}): alarms.check_interval_ms: 6 ms is out of range; {low}"));
    let error = from_layers(&files, &[(VARIABLE, "7")]);
    let expected = format!("environment variable {VARIABLE}: alarms.check_interval_ms: 7 ms is out of range; {low}");
    assert_eq!(error, expected);
}

#[test]
fn errors_name_the_line_of_the_table_or_the_key() {
    let local = |text: &str| from_layers(&[("config/local.toml", text)], &[]);
    let handlers = "[[handlers]]\nname = \"a\"\nkind = \"log\"\n\n[[handlers]]\nname = \"crm\"\nkind = \"exec\"\n";
    let missing = local(handlers);
    assert!(missing.starts_with("config/local.toml:5: handlers[1] `crm`: command: expected"), "{missing}");
    let invalid = local(&format!("{handlers}concurrency = 0\ncommand = [\"x\"]\n"));
    assert!(invalid.starts_with("config/local.toml:8: handlers[1] `crm`: concurrency = 0: "), "{invalid}");
    let wrong_type = local(&format!("{handlers}concurrency = \"s3cret\"\n"));
    assert!(wrong_type.starts_with("config/local.toml:8: handlers[1].concurrency: expected"), "{wrong_type}");
    assert!(!wrong_type.contains("s3cret"), "{wrong_type}");
    assert!(local("[[handlers]]\nname = \"a\"\n").starts_with("config/local.toml:1: handlers[0].kind: it is required"));
    assert!(local("[server]\nport = 1\nprot = 1\n").starts_with("config/local.toml:3: server.prot: unknown key; did"));
    assert_eq!(local("[server]\nport = s3cret\n"), "config/local.toml:2: it is not valid TOML there");
    let replaced = [
        ("config/default.toml", "[[handlers]]\nname = \"a\"\nkind = \"log\"\nconcurrency = 1\n"),
        ("config/local.toml", "handlers = [{ name = \"a\", kind = \"exec\" }]\n"),
    ];
    let error = from_layers(&replaced, &[]);
    assert!(error.starts_with("config/local.toml:1: handlers[0] `a`: command: "), "{error}");
    let error = from_layers(&[(".env", "\nRETELL_API_KEY=changeme\n")], &[]);
    assert!(error.starts_with(".env:2 (RETELL_API_KEY): it is a placeholder"), "{error}");
}

#[test]
fn errors_show_the_invalid_value_unless_it_is_private() {
    let refused = |text: &str| from_file("local.toml", text, &[]).unwrap_err();
    let function = "[[functions]]\nname = \"weather\"\nurl = \"https://user:pw7@example.com\"\n";
    for (lines, expected) in [
        ("[appointments]\nslot_minutes = 4\n", "config/local.toml:2: appointments.slot_minutes = 4: expected 5 to"),
        ("[alarms]\ncheck_interval_ms = 1\n", "alarms.check_interval_ms: 1 ms is out of range"),
        ("[[handlers]]\nname = \"a b\"\nkind = \"log\"\n", "handlers[0].name = \"a b\": expected"),
        (&format!("{function}methods = [\"get\"]\n"), "functions[0] `weather`: methods = [\"get\"]: expected"),
        (&format!("{function}command = [\"x\"]\n"), "functions[0] `weather`: url: the function has several targets"),
        (
            "[[handlers]]\nname = \"p\"\nkind = \"exec\"\ncommand = [\"\", \"pw7\"]\n",
            "`p`: command: expected the program",
        ),
        ("[security]\nkeys = [\"your_api_key_pw7\"]\n", "security.keys[0]: it is a placeholder"),
    ] {
        let error = refused(lines);
        assert!(error.contains(expected) && !error.contains("pw7"), "{lines}: {error}");
    }
}
