//! `filter_criteria` of the v3 lists. All conditions must hold.

use serde_json::Value;

use crate::retell::fake::answer::ApiRefusal;
use crate::retell::fake::versions::DocumentFields;

/// Filters by the value of a key in a group of the document, such as `metadata`; the fake does not have them.
const KEYED_FILTERS: [&str; 5] =
    ["custom_analysis_data", "custom_attributes", "metadata", "dynamic_variables", "tool_calls"];

/// Whether `document` meets all conditions of `criteria`.
pub(super) fn matches(document: &DocumentFields, criteria: &Value) -> Result<bool, ApiRefusal> {
    let Some(criteria) = criteria.as_object() else { return Ok(true) };
    for (field, filter) in criteria {
        if KEYED_FILTERS.contains(&field.as_str()) {
            return Err(ApiRefusal::bad_request(format!("filter_criteria/{field} is not part of the fake")));
        }
        let value = document.get(field).unwrap_or(&Value::Null);
        let is_match = match field.as_str() {
            "agent" => is_of_an_agent(document, filter),
            _ => condition_holds(value, filter).ok_or_else(|| invalid_filter(field))?,
        };
        if !is_match {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A list of agents, of which one must match. Without versions, all versions of an agent do.
fn is_of_an_agent(document: &DocumentFields, agents: &Value) -> bool {
    let matches_agent = |agent: &Value| {
        let versions = agent["version"].as_array().filter(|versions| !versions.is_empty());
        let call_version = document.get("agent_version").or_else(|| document.get("version"));
        document.get("agent_id") == agent.get("agent_id")
            && versions.is_none_or(|versions| versions.iter().any(|version| Some(version) == call_version))
    };
    agents.as_array().is_some_and(|agents| agents.iter().any(matches_agent))
}

/// `None` when the filter is not one of the documented shapes.
fn condition_holds(value: &Value, filter: &Value) -> Option<bool> {
    let wanted = &filter["value"];
    let operation = filter["op"].as_str()?;
    match (filter["type"].as_str()?, operation) {
        ("string", _) => string_condition(value.as_str().unwrap_or_default(), operation, wanted.as_str()?),
        ("enum", "in") => Some(wanted.as_array()?.contains(value)),
        ("number", _) => number_condition(value.as_f64(), operation, wanted.as_f64()?),
        ("range", "bt") => {
            let (low, high) = (wanted.get(0)?.as_f64()?, wanted.get(1)?.as_f64()?);
            Some(value.as_f64().is_some_and(|value| low <= value && value <= high))
        }
        ("boolean", "eq") => Some(value.as_bool() == Some(wanted.as_bool()?)),
        ("present", "pr") => Some(!value.is_null()),
        ("present", "np") => Some(value.is_null()),
        _ => None,
    }
}

fn string_condition(value: &str, operation: &str, wanted: &str) -> Option<bool> {
    Some(match operation {
        "eq" => value == wanted,
        "ne" => value != wanted,
        "sw" => value.starts_with(wanted),
        "ew" => value.ends_with(wanted),
        "co" => value.contains(wanted),
        _ => return None,
    })
}

/// A missing value meets no condition on numbers.
fn number_condition(value: Option<f64>, operation: &str, wanted: f64) -> Option<bool> {
    let is_allowed = |value: f64| {
        let order = value.partial_cmp(&wanted)?;
        Some(match operation {
            "eq" => order.is_eq(),
            "ne" => order.is_ne(),
            "gt" => order.is_gt(),
            "ge" => order.is_ge(),
            "lt" => order.is_lt(),
            "le" => order.is_le(),
            _ => return None,
        })
    };
    is_allowed(value.unwrap_or(f64::NAN)).or_else(|| is_allowed(wanted).map(|_| false))
}

fn invalid_filter(field: &str) -> ApiRefusal {
    ApiRefusal::bad_request(format!("Invalid request format: filter_criteria/{field}"))
}
