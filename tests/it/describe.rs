//! Documents generated from the command line's definition: completion scripts, manual pages and docs/cli.md.

use std::path::Path;

use crate::support::test_env::TestEnv;

#[test]
fn every_shell_gets_a_script_with_the_commands() {
    let home = TestEnv::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run_ok(&["completions", shell]).stdout;
        assert!(script.contains("retell-webhook") && script.contains("tail"), "{shell}");
    }
    assert_eq!(home.run(&["completions", "basic"]).exit_code, Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let home = TestEnv::new();
    let page = home.run_ok(&["man"]).stdout;
    assert!(page.contains(".TH") && page.contains("RETELL_API_KEY"), "{page}");
    home.run_ok(&["man", "--out", "pages/man1"]);
    for command in ["", "-serve", "-tail", "-events-import"] {
        let file = home.path().join(format!("pages/man1/retell-webhook{command}.1"));
        assert!(std::fs::read_to_string(&file).unwrap().contains(".TH"), "{}", file.display());
    }
    std::fs::write(home.path().join("file"), "").unwrap();
    let ran = home.run(&["man", "--out", "file"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("file"), "{ran:?}");
}

#[test]
fn the_command_line_reference_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let page = std::fs::read_to_string(file).unwrap_or_default();
    let generated = TestEnv::new().run_ok(&["docs", "cli"]).stdout;
    let is_up_to_date = page == generated;
    assert!(is_up_to_date, "docs/cli.md is out of date; run `cargo run -- docs cli > docs/cli.md`");
}
