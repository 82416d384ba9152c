//! What a request asks for: both forms in which Retell sends it.

use serde_json::{Map, Value};

use crate::event::EventKind;

/// The call and the arguments, as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FunctionPayload {
    /// The name in the body; `None` when it holds the arguments only.
    pub(super) name: Option<String>,
    pub(super) arguments: Map<String, Value>,
    pub(super) call_id: Option<String>,
    pub(super) tool_call_id: Option<String>,
    pub(super) from_number: Option<String>,
    pub(super) to_number: Option<String>,
    /// The body is that of a webhook event.
    pub(super) is_event: bool,
}

/// Reads a body, or the query where there is none. `named` is the call's id in a header.
///
/// # Errors
/// What is wrong, in words for the agent's model.
pub(super) fn parse(body: &[u8], query: Option<&str>, named: Option<&str>) -> Result<FunctionPayload, String> {
    let mut asked = if body.is_empty() {
        FunctionPayload { arguments: arguments_from_query(query), ..FunctionPayload::default() }
    } else {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => parse_body(fields),
            Ok(_) => return Err("the arguments are no JSON object".to_owned()),
            Err(_) => return Err("the arguments are not valid JSON".to_owned()),
        }
    };
    let in_query = || query_pairs(query).find(|(name, _)| name == "call_id").map(|(_, id)| id);
    let beside = || named.map(str::to_owned).or_else(in_query);
    asked.call_id = asked.call_id.or_else(beside).filter(|id| !id.is_empty()).map(sanitize_id);
    asked.tool_call_id = asked.tool_call_id.map(sanitize_id);
    Ok(asked)
}

fn parse_body(mut fields: Map<String, Value>) -> FunctionPayload {
    let is_event = is_event_body(&fields);
    if !is_envelope(&fields) {
        return FunctionPayload { arguments: fields, is_event, ..FunctionPayload::default() };
    }
    let name = fields.get("name").and_then(Value::as_str).map(str::to_owned);
    let arguments = match fields.remove("args") {
        Some(Value::Object(arguments)) => arguments,
        _ => Map::new(),
    };
    let session = ["call", "chat"].iter().filter_map(|key| fields.get(*key)).find(|session| session.is_object());
    let session = session.unwrap_or(&Value::Null);
    let text = |key: &str| session.get(key).and_then(Value::as_str).map(str::to_owned);
    FunctionPayload {
        tool_call_id: name.as_deref().and_then(|name| find_tool_call_id(session, name, &arguments)),
        call_id: text("call_id").or_else(|| text("chat_id")),
        from_number: text("from_number"),
        to_number: text("to_number"),
        name,
        arguments,
        is_event,
    }
}

/// It names an event that Retell sends, and holds an object, as each of them does.
fn is_event_body(fields: &Map<String, Value>) -> bool {
    let name = fields.get("event").and_then(Value::as_str);
    name.is_some_and(|name| EventKind::from_name(name) != EventKind::Unknown) && fields.values().any(Value::is_object)
}

/// An argument may be called `name` or `call` too, so the whole has to fit.
fn is_envelope(fields: &Map<String, Value>) -> bool {
    let named = fields.get("name").is_some_and(Value::is_string);
    let arguments = fields.get("args").is_some_and(Value::is_object);
    let none = fields.get("args").is_none_or(Value::is_null);
    let session = ["call", "chat"].iter().any(|key| fields.get(*key).is_some_and(Value::is_object));
    let bare = || fields.keys().all(|key| matches!(key.as_str(), "name" | "args" | "call" | "chat"));
    named && ((session && (arguments || none)) || (arguments && bare()))
}

/// The model's id of this tool call: the last in the transcript that fits and has no result yet.
fn find_tool_call_id(session: &Value, name: &str, arguments: &Map<String, Value>) -> Option<String> {
    const TRANSCRIPT_KEYS: [&str; 2] = ["transcript_with_tool_calls", "message_with_tool_calls"];
    let items = TRANSCRIPT_KEYS.iter().find_map(|key| session.get(key)?.as_array())?;
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    for item in items.iter().rev() {
        if item.get("role").and_then(Value::as_str) != Some("tool_call_invocation") {
            continue;
        }
        if text(item, "name").as_deref() != Some(name) {
            continue;
        }
        let given = text(item, "arguments").unwrap_or_default();
        let given: Map<String, Value> = serde_json::from_str(&given).unwrap_or_default();
        let id = text(item, "tool_call_id").filter(|id| !id.is_empty())?;
        let has_result = |item: &Value| {
            item.get("role").and_then(Value::as_str) == Some("tool_call_result")
                && text(item, "tool_call_id").as_deref() == Some(&id)
        };
        return (given == *arguments && !items.iter().any(has_result)).then_some(id);
    }
    None
}

fn arguments_from_query(query: Option<&str>) -> Map<String, Value> {
    query_pairs(query).filter(|(name, _)| name != "call_id").map(|(name, value)| (name, Value::String(value))).collect()
}

/// What a query beside a body says besides the call, in whatever order: the tool may have parameters there.
pub(super) fn canonical_query(query: Option<&str>) -> String {
    let mut pairs: Vec<_> = query_pairs(query).filter(|(name, _)| name != "call_id").collect();
    pairs.sort_unstable();
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn query_pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned()
}

/// Ids are kept and compared: no longer than they need to be.
fn sanitize_id(mut id: String) -> String {
    id.truncate(id.floor_char_boundary(256));
    id.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse_json(body: &Value) -> FunctionPayload {
        parse(body.to_string().as_bytes(), None, None).unwrap()
    }

    #[test]
    fn both_forms_are_told_apart() {
        let sample = include_bytes!("../../../tests/fixtures/payloads/17_custom_function_request_wrapped.json");
        let whole = parse(sample, None, None).unwrap();
        assert_eq!(whole.name.as_deref(), Some("get_weather"));
        assert_eq!(whole.call_id.as_deref(), Some("call_func0000000000000000000001"));
        assert_eq!(whole.tool_call_id.as_deref(), Some("tool_call_w1"));
        let sample = include_bytes!("../../../tests/fixtures/payloads/17b_custom_function_request_args_only.json");
        let bare = parse(sample, Some("call_id=c1&x=1"), None).unwrap();
        assert_eq!((bare.name, bare.call_id.as_deref()), (None, Some("c1")));
        assert_eq!(bare.arguments, whole.arguments);
        for arguments in
            [json!({"name": "Robin", "date": "x"}), json!({"name": "Robin", "args": "x"}), json!({"call": {}})]
        {
            assert_eq!(Value::Object(parse_json(&arguments).arguments), arguments, "are the arguments themselves");
        }
        let none = parse_json(&json!({"name": "hang_up", "chat": {"chat_id": "chat_1"}}));
        assert_eq!((none.arguments.len(), none.call_id.as_deref()), (0, Some("chat_1")));
        let chat = parse_json(&json!({"name": "f", "call": null, "chat": {"chat_id": "chat_1"}, "args": {}}));
        assert_eq!(chat.call_id.as_deref(), Some("chat_1"));
    }

    #[test]
    fn ids_come_from_header_or_query_and_arguments_from_a_query_without_body() {
        let asked = parse(b"", Some("city=Z%C3%BCrich&call_id=c2"), Some("c1")).unwrap();
        assert_eq!((asked.call_id.as_deref(), asked.arguments.len()), (Some("c1"), 1));
        assert_eq!(asked.arguments["city"], "Zürich");
        assert!(parse(b"[1]", None, None).is_err() && parse(b"{", None, None).is_err());
    }

    #[test]
    fn events_are_told_from_arguments() {
        for (body, is_event) in [
            (json!({"event": "call_ended", "call": {"call_id": "c"}}), true),
            (json!({"event": "call_ended", "name": "f", "call": {"call_id": "c"}}), true),
            (json!({"event": "call_inbound", "call_inbound": {}}), true),
            (json!({"event": "wedding", "place": {"city": "Bern"}}), false),
            (json!({"event": "call_ended"}), false),
            (json!({"name": "f", "call": {}, "args": {"event": "call_ended", "call": {}}}), false),
        ] {
            assert_eq!(parse_json(&body).is_event, is_event, "{body}");
        }
    }

    #[test]
    fn a_tool_call_that_has_its_result_is_another() {
        let item = |role: &str| json!({"role": role, "tool_call_id": "t1", "name": "f", "arguments": "{\"a\":1}", "content": "done"});
        let with = |items: Value, args: Value| {
            parse_json(&json!({"name": "f", "call": {"transcript_with_tool_calls": items}, "args": args})).tool_call_id
        };
        assert_eq!(with(json!([item("tool_call_invocation")]), json!({"a": 1})).as_deref(), Some("t1"));
        assert_eq!(with(json!([item("tool_call_invocation")]), json!({"a": 2})), None);
        assert_eq!(with(json!([item("tool_call_invocation"), item("tool_call_result")]), json!({"a": 1})), None);
    }
}
