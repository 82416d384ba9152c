//! API keys from variables and files, and the rule that a key for the REST API also verifies signatures.

use std::path::Path;

use super::sources::{API_KEY_VARIABLES, ConfigSources};
use crate::base::secret::Secret;
use crate::config::sections::security::{invalid_key_reason, parse_keys};
use crate::config::{FieldError, Settings};

pub(super) fn apply(settings: &mut Settings, sources: &ConfigSources) -> Result<(), FieldError> {
    let [configuring, _] = API_KEY_VARIABLES;
    let from_api_key_variable = read_variable(configuring, sources)?;
    if sources.env_var("RETELL_WEBHOOK__SECURITY__KEYS").is_none() {
        let keys = verifying_keys(sources)?;
        if !keys.is_empty() {
            settings.security.keys = keys;
        }
    }
    if sources.env_var("RETELL_WEBHOOK__RETELL__API_KEY").is_none()
        && let Some(key) = from_api_key_variable.into_iter().next()
    {
        (settings.retell.api_key, settings.retell.api_key_file) = (Some(key), None);
    }
    read_key_file(&mut settings.retell.api_key, settings.retell.api_key_file.as_deref(), sources)
        .map_err(|why| FieldError::new("retell.api_key_file", why))?;
    for (position, company) in settings.companies.iter_mut().enumerate() {
        let located = |key: &str, why: String| FieldError::new(key, why).in_list("companies", position, &company.slug);
        read_key_file(&mut company.api_key, company.api_key_file.as_deref(), sources)
            .map_err(|why| located("api_key_file", why))?;
        if let Some(file) = &company.keys_file {
            if !company.keys.is_empty() {
                return Err(located("keys_file", "keys is set as well; remove one of them".to_owned()));
            }
            let text = read_file(file, sources).map_err(|why| located("keys_file", why))?;
            company.keys = parse_keys(&text.replace(['\r', '\n'], ","));
            company.keys.retain(|key| !key.expose().is_empty());
        }
        add_key(&mut company.keys, company.api_key.as_ref());
    }
    add_key(&mut settings.security.keys, settings.retell.api_key.as_ref());
    Ok(())
}

/// All keys of the variables with conventional names. `RETELL_WEBHOOK__SECURITY__KEYS` overrides them.
fn verifying_keys(sources: &ConfigSources) -> Result<Vec<Secret>, FieldError> {
    let mut keys: Vec<Secret> = Vec::new();
    for name in API_KEY_VARIABLES {
        for key in read_variable(name, sources)? {
            add_key(&mut keys, Some(&key));
        }
    }
    Ok(keys)
}

/// The keys in a variable or in the file that it names; an error names the variable.
fn read_variable(name: &str, sources: &ConfigSources) -> Result<Vec<Secret>, FieldError> {
    let Some((name, text)) = sources.read_value_or_file(name)? else { return Ok(Vec::new()) };
    let keys = parse_keys(&text);
    if let Some(why) = keys.iter().find_map(invalid_key_reason) {
        let problem = format!(
            "it {why}; set it to the key with the webhook badge from Retell's dashboard (Settings → API Keys), or unset \
             it"
        );
        return Err(sources.variable_error(&name, problem));
    }
    Ok(keys)
}

fn read_key_file(key: &mut Option<Secret>, file: Option<&Path>, sources: &ConfigSources) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    if key.is_some() {
        return Err("api_key is set as well; remove one of them".to_owned());
    }
    *key = Some(Secret::new(read_file(file, sources)?));
    Ok(())
}

/// The text of a file without blanks around it. A relative path starts at the folder of `config/`.
fn read_file(file: &Path, sources: &ConfigSources) -> Result<String, String> {
    let path = sources.base_dir.as_deref().map_or_else(|| file.to_owned(), |folder| folder.join(file));
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read the file {}: {error}", file.display()))?;
    Ok(crate::config::values::clean_text::clean_text(&text).to_owned())
}

fn add_key(keys: &mut Vec<Secret>, key: Option<&Secret>) {
    if let Some(key) = key.filter(|key| !keys.contains(key)) {
        keys.push(key.clone());
    }
}
