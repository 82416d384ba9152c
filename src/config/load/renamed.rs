//! Keys that had another name in an earlier version. An old key is an error, not an alias: two names for one setting
//! would leave open which of them is used.

/// Old and new dotted keys, without list positions.
const RENAMED_KEYS: [(&str, &str); 20] = [
    ("alarms.look_ms", "alarms.check_interval_ms"),
    ("alarms.calm_ms", "alarms.resolve_after_ms"),
    ("alarms.dead_window_ms", "alarms.dead_deliveries_window_ms"),
    ("alarms.refused_per_minute", "alarms.rejected_per_minute"),
    ("alarms.silence_events", "alarms.silence_baseline_events"),
    ("alarms.silence_min_ms", "alarms.silence_baseline_min_ms"),
    ("alarms.silence_ms", "alarms.silence_after_ms"),
    ("appointments.notice_minutes", "appointments.min_notice_minutes"),
    ("appointments.services.minutes", "appointments.services.duration_minutes"),
    ("egress.allow", "egress.allowlist"),
    ("egress.allow_private", "egress.allow_private_networks"),
    ("functions.window_ms", "functions.idempotency_window_ms"),
    ("inbound.rules.known", "inbound.rules.known_caller"),
    ("security.window_ms", "security.signature_tolerance_ms"),
    ("handlers.schedule", "handlers.retry_schedule"),
    ("handlers.hold_ms", "handlers.ordering_timeout_ms"),
    ("handlers.success", "handlers.success_statuses"),
    ("handlers.redirects", "handlers.max_redirects"),
    ("handlers.retry_codes", "handlers.retry_exit_codes"),
    ("handlers.fail_codes", "handlers.fail_exit_codes"),
];

/// The new name of a renamed key, both as dotted paths without list positions.
pub(super) fn new_name(old: &str) -> Option<&'static str> {
    RENAMED_KEYS.iter().find(|(name, _)| *name == old).map(|(_, new)| *new)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::suggest;
    use super::*;
    use crate::config::{ConfigSources, Settings};

    fn load_error(file: &str, env: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        std::fs::write(folder.path().join("config/local.toml"), file).unwrap();
        let env: BTreeMap<_, _> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let sources = ConfigSources { base_dir: Some(folder.path().into()), env, ..ConfigSources::default() };
        let error = Settings::load(&sources).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    /// A file that sets `key`; required keys of its table are set as well.
    fn file_with_key(key: &str) -> String {
        let (table, name) = key.rsplit_once('.').unwrap();
        match table {
            "appointments.services" => format!("[appointments]\nservices = [{{ name = \"a\", {name} = 5 }}]\n"),
            "handlers" => format!("[[handlers]]\nname = \"a\"\nkind = \"log\"\n{name} = 5\n"),
            "functions" | "inbound.rules" => format!("[[{table}]]\nname = \"a\"\n{name} = 5\n"),
            _ => format!("[{table}]\n{name} = 5\n"),
        }
    }

    #[test]
    fn an_old_key_in_a_file_is_an_error_with_the_new_key() {
        for (old, new) in RENAMED_KEYS {
            let error = load_error(&file_with_key(old), &[]);
            let (table, key) = old.rsplit_once('.').unwrap();
            assert!(error.starts_with("config/local.toml:") && error.contains(table), "{error}");
            assert!(error.ends_with(&format!("{key}: unknown key; it is now `{new}`")), "{error}");
        }
    }

    #[test]
    fn an_old_key_in_a_variable_is_an_error_with_the_new_key() {
        let is_table_list = |key: &str| {
            ["handlers.", "functions.", "inbound.rules.", "appointments.services."]
                .iter()
                .any(|list| key.starts_with(list))
        };
        for (old, new) in RENAMED_KEYS.into_iter().filter(|(old, _)| !is_table_list(old)) {
            let name = format!("RETELL_WEBHOOK__{}", old.to_uppercase().replace('.', "__"));
            let expected = format!("environment variable {name}: {old}: unknown key; it is now `{new}`");
            assert_eq!(load_error("", &[(&name, "5")]), expected);
        }
    }

    #[test]
    fn new_keys_are_valid_and_old_keys_are_not() {
        let valid = suggest::valid_keys();
        for (old, new) in RENAMED_KEYS {
            assert!(valid.iter().any(|key| key == new) && !valid.iter().any(|key| key == old), "{old} {new}");
        }
    }
}
