//! Rules about the agents of phone numbers.

use serde_json::Value;

use super::access::unknown_id;
use crate::retell::fake::answer::ApiRefusal;
use crate::retell::fake::versions::DocumentFields;
use crate::retell::fake::workspace::Workspace;

const BINDING_LISTS: [&str; 4] = ["inbound_agents", "outbound_agents", "inbound_sms_agents", "outbound_sms_agents"];
const SINGULAR_FIELDS: [&str; 8] = [
    "inbound_agent_id",
    "inbound_agent_version",
    "outbound_agent_id",
    "outbound_agent_version",
    "inbound_sms_agent_id",
    "inbound_sms_agent_version",
    "outbound_sms_agent_id",
    "outbound_sms_agent_version",
];
/// Allowed difference of the sum of the weights from 1, for decimal fractions such as 0.1.
const WEIGHT_TOLERANCE: f64 = 1e-6;

/// The fields for one agent, such as `inbound_agent_id`, get 400: lists replaced them on 2026-03-31.
/// Source: Retell's deprecation notice of that date.
pub(in crate::retell::fake) fn singular_fields_are_refused(patch: &DocumentFields) -> Result<(), ApiRefusal> {
    match SINGULAR_FIELDS.iter().find(|field| patch.contains_key(**field)) {
        Some(field) => {
            Err(ApiRefusal::bad_request(format!("{field} is no longer supported, use weighted agent lists")))
        }
        None => Ok(()),
    }
}

/// Every binding needs an `agent_id` and a `weight`; a binding without a weight gets 400.
/// Source: live probe of August 2026.
pub(in crate::retell::fake) fn bindings_need_weights(patch: &DocumentFields) -> Result<(), ApiRefusal> {
    for (name, bindings) in binding_lists(patch) {
        let is_complete =
            |binding: &Value| binding["agent_id"].is_string() && binding["weight"].as_f64().is_some_and(|w| w >= 0.0);
        if let Some(index) = bindings.iter().position(|binding| !is_complete(binding)) {
            let message = format!("Invalid request format: {name}/{index} must have agent_id and weight");
            return Err(ApiRefusal::bad_request(message));
        }
    }
    Ok(())
}

/// The weights of a list add up to 1, otherwise 400. An empty list is valid: the number then has no agent.
/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`.
pub(in crate::retell::fake) fn weights_sum_to_one(patch: &DocumentFields) -> Result<(), ApiRefusal> {
    for (name, bindings) in binding_lists(patch).filter(|(_, bindings)| !bindings.is_empty()) {
        let sum: f64 = bindings.iter().filter_map(|binding| binding["weight"].as_f64()).sum();
        if (sum - 1.0).abs() > WEIGHT_TOLERANCE {
            return Err(ApiRefusal::bad_request(format!("{name}: weights must add up to 1, got {sum}")));
        }
    }
    Ok(())
}

/// A binding to an agent that is unknown under the key gets 422, as other unknown ids do.
/// Source: none for this endpoint; it follows from the rule for ids.
pub(in crate::retell::fake) fn bound_agents_exist(
    patch: &DocumentFields,
    workspace: &Workspace,
) -> Result<(), ApiRefusal> {
    let bindings = binding_lists(patch).flat_map(|(_, bindings)| bindings);
    let mut agent_ids = bindings.filter_map(|binding| binding["agent_id"].as_str());
    match agent_ids.find(|agent_id| !workspace.agents.contains_key(*agent_id)) {
        Some(agent_id) => Err(unknown_id("agent", agent_id)),
        None => Ok(()),
    }
}

fn binding_lists(patch: &DocumentFields) -> impl Iterator<Item = (&'static str, &Vec<Value>)> {
    BINDING_LISTS.iter().filter_map(|name| Some((*name, patch.get(*name)?.as_array()?)))
}
