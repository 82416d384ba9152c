//! Shows and checks the settings.

use serde_json::{Map, Value};

use super::OperationError;
use crate::config::{ConfigSources, FieldError, HandlerSettings, ProgramSearchPath, Settings};
use crate::egress::Egress;
use crate::event::{EventKind, INTERNAL_EVENT_NAMES};
use crate::handlers::{Filter, HandlerRegistry};
use crate::live::appointments;
use crate::live::functions::FunctionRegistry;
use crate::live::inbound::InboundRules;
use crate::privacy::redact;
use crate::security::keys::ApiKey;
use crate::telemetry::logging;
use crate::view::{SettingView, SettingsView};

/// Loads the settings and makes every check of the settings that a receiver makes at startup. The start, a reload, and
/// the checks of the setup all use it.
pub(crate) fn check_settings(sources: &ConfigSources) -> Result<Settings, OperationError> {
    let settings = Settings::load(sources)?;
    check_components(&settings).map_err(|error| settings.complete(error))?;
    Ok(settings)
}

fn check_components(settings: &Settings) -> Result<(), FieldError> {
    let egress = Egress::new(&settings.egress);
    let path = ProgramSearchPath::from_process();
    HandlerRegistry::validate(&settings.handlers, &egress, &path)?;
    let built_in = appointments::function_definitions(settings);
    FunctionRegistry::check(&settings.functions, &built_in, &egress, &path)?;
    InboundRules::check(&settings.inbound, &egress)?;
    logging::validate(&settings.log)
}

/// The merged settings with the origin of each value. Of keys only the fingerprints are shown.
pub(crate) fn show_settings(settings: &Settings) -> Result<SettingsView, OperationError> {
    let mut tree = serde_json::to_value(settings)?;
    redact_urls(&mut tree);
    let mut views = Vec::new();
    if let Value::Object(sections) = &tree {
        append_settings("", sections, settings, &mut views);
    }
    Ok(SettingsView { tree, settings: views })
}

/// Appends the settings of a section first and its subsections afterwards.
fn append_settings(path: &str, fields: &Map<String, Value>, settings: &Settings, views: &mut Vec<SettingView>) {
    let full_key = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let (sections, values): (Vec<_>, Vec<_>) =
        fields.iter().partition(|(_, value)| value.is_object() || is_table_array(value));
    for (name, value) in values {
        views.push(setting_view(full_key(name), value, settings));
    }
    for (name, value) in sections {
        match value {
            Value::Object(fields) => append_settings(&full_key(name), fields, settings, views),
            tables => views.push(setting_view(full_key(name), tables, settings)),
        }
    }
}

fn setting_view(key: String, value: &Value, settings: &Settings) -> SettingView {
    let mut origin = settings.origins.layer(&key).unwrap_or("built in").to_owned();
    let keys = &settings.security.keys;
    if key == "security.keys" && !keys.is_empty() {
        let fingerprints: Vec<_> = keys.iter().map(|key| ApiKey::new(key).fingerprint().to_string()).collect();
        origin = format!("{origin}; fingerprint {}", fingerprints.join(", "));
    }
    SettingView { key, value: value.clone(), origin }
}

/// Whether a value is an array of tables, such as `[[handlers]]`.
fn is_table_array(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(Value::is_object))
}

/// What should be looked into before events arrive, for a receiver that listens on `port`: each with its key, value and
/// origin.
pub(crate) fn startup_warnings(settings: &Settings, port: u16) -> Vec<FieldError> {
    let mut warnings = settings.warnings(port);
    warnings.extend(unknown_event_warnings(settings));
    warnings
}

/// A handler's event filter with a name that Retell does not send is more likely a typo than intended.
fn unknown_event_warnings(settings: &Settings) -> Vec<FieldError> {
    let unknown = |name: &&String| {
        !EventKind::ALL
            .iter()
            .map(|kind| kind.as_str())
            .chain(INTERNAL_EVENT_NAMES)
            .any(|known| Filter::name_matches(name, known))
    };
    let of = |(position, handler): (usize, &HandlerSettings)| {
        let names: Vec<_> = handler.events.iter().filter(unknown).cloned().collect();
        let why = format!("Retell sends no event named {}; see the event names in docs/handlers", names.join(", "));
        let warning = FieldError::new("events", why).in_list("handlers", position, &handler.name);
        (!names.is_empty()).then(|| settings.complete(warning))
    };
    settings.handlers.iter().enumerate().filter_map(of).collect()
}

/// Replaces passwords inside URLs. Settings that are secrets as a whole are of a type that serializes as `***`.
fn redact_urls(tree: &mut Value) {
    match tree {
        Value::String(text) => *text = redact::url(text),
        Value::Array(items) => items.iter_mut().for_each(redact_urls),
        Value::Object(fields) => fields.values_mut().for_each(redact_urls),
        _ => {}
    }
}
