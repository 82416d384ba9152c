//! Endpoints of phone numbers. The id in their paths is the number in E.164 form, with an encoded or a plain plus sign.

use serde_json::Value;

use super::EndpointContext;
use crate::retell::fake::answer::{ApiAnswer, ApiResult};
use crate::retell::fake::pages::{self, PageParameters};
use crate::retell::fake::rules::{access, fields, numbers, patches};

pub(super) fn list(context: &mut EndpointContext<'_>) -> ApiResult {
    let numbers = context.workspace.numbers.iter();
    let items = numbers.map(|(number, document)| ((0, number.clone()), Value::Object(document.clone())));
    Ok(pages::page(items.collect(), &PageParameters::from_query(context.request)?))
}

pub(super) fn get(context: &mut EndpointContext<'_>) -> ApiResult {
    let number = context.id();
    let document = context.workspace.numbers.get(number);
    Ok(ApiAnswer::ok(document.ok_or_else(|| access::unknown_id("phone number", number))?.clone()))
}

pub(super) fn update(context: &mut EndpointContext<'_>) -> ApiResult {
    let patch = context.request.object()?;
    numbers::singular_fields_are_refused(&patch)?;
    let patch = patches::keep_known_keys(patch, fields::NUMBER_FIELDS);
    numbers::bindings_need_weights(&patch)?;
    numbers::weights_sum_to_one(&patch)?;
    numbers::bound_agents_exist(&patch, context.workspace)?;
    let number = context.id().to_owned();
    let now_ms = context.now_ms;
    let document = context.workspace.numbers.get_mut(&number);
    let document = document.ok_or_else(|| access::unknown_id("phone number", &number))?;
    patches::replace_keys(document, patch);
    patches::touch(document, now_ms);
    Ok(ApiAnswer::ok(document.clone()))
}
