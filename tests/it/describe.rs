//! `completions` and `man`.

use crate::support::test_env::TestEnv;

#[test]
fn every_shell_gets_a_script_that_knows_the_verbs() {
    let home = TestEnv::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run_ok(&["completions", shell]).stdout;
        assert!(script.contains("retell-webhook") && script.contains("tail"), "{shell}");
    }
    assert_eq!(home.run(&["completions", "basic"]).exit_code, Some(2));
}

#[test]
fn there_is_a_page_for_every_verb() {
    let home = TestEnv::new();
    let page = home.run_ok(&["man"]).stdout;
    assert!(page.contains(".TH") && page.contains("RETELL_API_KEY"), "{page}");
    home.run_ok(&["man", "--out", "pages/man1"]);
    for verb in ["", "-serve", "-tail", "-events-import"] {
        let file = home.path().join(format!("pages/man1/retell-webhook{verb}.1"));
        assert!(std::fs::read_to_string(&file).unwrap().contains(".TH"), "{}", file.display());
    }
    std::fs::write(home.path().join("taken"), "").unwrap();
    let ran = home.run(&["man", "--out", "taken"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("taken"), "{ran:?}");
}
