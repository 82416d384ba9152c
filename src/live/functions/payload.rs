//! Reads a request for a function in both forms in which Retell sends it: the envelope with name, call and arguments,
//! and the arguments alone ("Payload: args only").

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::event::{FromJson, JsonObject, TranscriptItem, parse_json, valid_json};

const MAX_ID_BYTES: usize = 256;

/// The call and the arguments of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FunctionPayload {
    /// The function's name in the envelope; `None` when the body holds only the arguments.
    pub(super) name: Option<String>,
    pub(super) arguments: Map<String, Value>,
    /// Id of the call, or of the chat.
    pub(super) call_id: Option<String>,
    pub(super) tool_call_id: Option<String>,
    pub(super) from_number: Option<String>,
    pub(super) to_number: Option<String>,
}

/// What a body is by its content, whatever the address to which it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// It names an event and contains an object, as every event does. An argument called `event` is not enough.
    Event,
    /// The envelope of a call of the function with this name.
    FunctionCall(String),
    /// Any other object. It may be the arguments of a function ("Payload: args only"), which name no function.
    OtherObject,
    NotObject,
}

/// Decides what a body is. Only an event that names one of Retell's never runs a function.
#[must_use]
pub(crate) fn body_kind(body: &[u8]) -> BodyKind {
    let Ok(fields) = serde_json::from_str::<JsonObject>(&valid_json(body)) else { return BodyKind::NotObject };
    let text = |key: &str| fields.get(key).and_then(String::from_json).filter(|text| !text.is_empty());
    if text("event").is_some() && fields.iter().any(|(_, value)| is_object(value)) {
        return BodyKind::Event;
    }
    match text("name").filter(|_| is_envelope(&fields)) {
        Some(name) => BodyKind::FunctionCall(name),
        None => BodyKind::OtherObject,
    }
}

/// Reads the body, or the query when the body is empty: the name, the arguments and the ids. Any other part of the body
/// may be unreadable, and text that is not valid Unicode is read with U+FFFD. `call_id_header` is the call id from a
/// header; like one in the query it counts only when the body has none.
///
/// # Errors
/// The problem, in words for the agent's model.
pub(super) fn parse(body: &[u8], query: Option<&str>, call_id_header: Option<&str>) -> Result<FunctionPayload, String> {
    let mut payload = if body.is_empty() {
        FunctionPayload { arguments: arguments_from_query(query), ..FunctionPayload::default() }
    } else {
        let body = valid_json(body);
        match serde_json::from_str::<JsonObject>(&body) {
            Ok(fields) => parse_body(&fields, &body),
            Err(error) if error.is_data() => return Err("the arguments are not a JSON object".to_owned()),
            Err(_) => return Err("the arguments are not valid JSON".to_owned()),
        }
    };
    // The body first: it alone is covered by the signature.
    let call_id = payload
        .call_id
        .or_else(|| call_id_header.map(str::to_owned))
        .or_else(|| query_pairs(query).find(|(name, _)| name == "call_id").map(|(_, id)| id));
    payload.call_id = call_id.filter(|id| !id.is_empty()).map(sanitize_id);
    payload.tool_call_id = payload.tool_call_id.map(sanitize_id);
    Ok(payload)
}

fn parse_body(fields: &JsonObject, body: &str) -> FunctionPayload {
    if !is_envelope(fields) {
        return FunctionPayload { arguments: parse_object(body), ..FunctionPayload::default() };
    }
    let name = fields.get("name").and_then(String::from_json);
    let arguments = fields.get("args").map(|args| parse_object(args.get())).unwrap_or_default();
    // Retell sends one of the two and may send the other as null.
    let session = ["call", "chat"].iter().find_map(|key| fields.get_as::<JsonObject>(key)).unwrap_or_default();
    let session_text = |key: &str| session.get(key).and_then(String::from_json);
    FunctionPayload {
        tool_call_id: name.as_deref().and_then(|name| find_tool_call_id(&session, name, &arguments)),
        call_id: session_text("call_id").or_else(|| session_text("chat_id")),
        from_number: session_text("from_number"),
        to_number: session_text("to_number"),
        name,
        arguments,
    }
}

/// An object that was scanned before; empty for any other value.
fn parse_object(json: &str) -> Map<String, Value> {
    match parse_json(json.as_bytes()) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Whether the body is the envelope. Arguments may be called `name`, `args` or `call` too, so one field is never
/// enough: either name and call fit, or name and arguments with no field that an envelope does not have.
fn is_envelope(fields: &JsonObject) -> bool {
    let has_name = fields.get("name").is_some_and(|name| name.get().starts_with('"'));
    let has_arguments = fields.get("args").is_some_and(is_object);
    // A function without parameters is sent with `args` null or without `args`.
    let has_no_arguments = fields.get("args").is_none_or(|args| args.get() == "null");
    let has_session = ["call", "chat"].iter().any(|key| fields.get(key).is_some_and(is_object));
    let has_only_known_fields = || fields.iter().all(|(key, _)| matches!(key, "name" | "args" | "call" | "chat"));
    let fits_with_session = has_session && (has_arguments || has_no_arguments);
    has_name && (fits_with_session || (has_arguments && has_only_known_fields()))
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Finds the model's id of this tool call. Retell does not send it by itself, only as part of the transcript.
///
/// Only the last invocation of the function in the transcript is considered, and only when its arguments are equal
/// and it has no result yet. Any other one would be an earlier call of the same function, whose answer would be given
/// to this one.
fn find_tool_call_id(session: &JsonObject, name: &str, arguments: &Map<String, Value>) -> Option<String> {
    const TRANSCRIPT_KEYS: [&str; 2] = ["transcript_with_tool_calls", "message_with_tool_calls"];
    let items = TRANSCRIPT_KEYS.iter().find_map(|key| Vec::<TranscriptItem>::from_json(session.get(key)?))?;
    let invocation = items.iter().rev().find_map(|item| match item {
        TranscriptItem::ToolCallInvocation(invocation) if invocation.name.as_deref() == Some(name) => Some(invocation),
        _ => None,
    })?;
    // The transcript holds the arguments as JSON in a string.
    let invoked_with = parse_object(invocation.arguments.as_deref().unwrap_or_default());
    let id = invocation.tool_call_id.clone().filter(|id| !id.is_empty())?;
    let is_result = |item: &TranscriptItem| match item {
        TranscriptItem::ToolCallResult(result) => result.tool_call_id.as_ref() == Some(&id),
        _ => false,
    };
    let is_this_call = invoked_with == *arguments && !items.iter().any(is_result);
    is_this_call.then_some(id)
}

/// The query as arguments, all of them text.
fn arguments_from_query(query: Option<&str>) -> Map<String, Value> {
    query_pairs(query).filter(|(name, _)| name != "call_id").map(|(name, value)| (name, Value::String(value))).collect()
}

/// The query without the call id, in a fixed order. It is part of the invocation's key: a tool may have parameters in
/// the query in addition to those in the body.
pub(super) fn canonical_query(query: Option<&str>) -> String {
    let mut pairs: Vec<_> = query_pairs(query).filter(|(name, _)| name != "call_id").collect();
    pairs.sort_unstable();
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn query_pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned()
}

/// Makes an id fit for a database column: at most [`MAX_ID_BYTES`], without NUL.
fn sanitize_id(mut id: String) -> String {
    id.truncate(id.floor_char_boundary(MAX_ID_BYTES));
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
    fn the_envelope_and_bare_arguments_are_distinguished() {
        let sample = include_bytes!("../../../tests/fixtures/payloads/17_custom_function_request_wrapped.json");
        let envelope = parse(sample, None, None).unwrap();
        assert_eq!(envelope.name.as_deref(), Some("get_weather"));
        assert_eq!(envelope.call_id.as_deref(), Some("call_func0000000000000000000001"));
        assert_eq!(envelope.tool_call_id.as_deref(), Some("tool_call_w1"));
        let sample = include_bytes!("../../../tests/fixtures/payloads/17b_custom_function_request_args_only.json");
        let bare = parse(sample, Some("call_id=c1&x=1"), None).unwrap();
        assert_eq!((bare.name, bare.call_id.as_deref()), (None, Some("c1")));
        assert_eq!(bare.arguments, envelope.arguments);
        for arguments in
            [json!({"name": "Robin", "date": "x"}), json!({"name": "Robin", "args": "x"}), json!({"call": {}})]
        {
            assert_eq!(Value::Object(parse_json(&arguments).arguments), arguments, "the body is the arguments");
        }
        let without_arguments = parse_json(&json!({"name": "hang_up", "chat": {"chat_id": "chat_1"}}));
        assert_eq!((without_arguments.arguments.len(), without_arguments.call_id.as_deref()), (0, Some("chat_1")));
        let chat = parse_json(&json!({"name": "f", "call": null, "chat": {"chat_id": "chat_1"}, "args": {}}));
        assert_eq!(chat.call_id.as_deref(), Some("chat_1"));
    }

    #[test]
    fn the_call_id_header_precedes_the_query() {
        let payload = parse(b"", Some("city=Z%C3%BCrich&call_id=c2"), Some("c1")).unwrap();
        assert_eq!((payload.call_id.as_deref(), payload.arguments.len()), (Some("c1"), 1));
        assert_eq!(payload.arguments["city"], "Zürich");
    }

    #[test]
    fn a_body_that_is_not_an_object_is_an_error() {
        assert!(parse(b"[1]", None, None).is_err());
        assert!(parse(b"{", None, None).is_err());
    }

    #[test]
    fn an_unreadable_part_of_the_call_affects_nothing_else() {
        let body = |call: &str| {
            format!(
                r#"{{"name":"f","args":{{"city":"Bern \ud83d"}},"call":{{"call_id":"c1","from_number":"+12025550143","x":{call},
            "transcript_with_tool_calls":[{{"role":"agent","content":"hi \ud83d","words":[{{"start":1e400}}]}},
            {{"role":"tool_call_invocation","tool_call_id":"t1","name":"f","arguments":"{{\"city\":\"Bern \\ud83d\"}}"}}]}}}}"#
            )
        };
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for call in ["1e400", "NaN", r#""\ud83d""#, &deep] {
            for before in ["", "\u{feff}"] {
                let payload = parse([before, &body(call)].concat().as_bytes(), None, None).unwrap();
                assert_eq!((payload.name.as_deref(), payload.call_id.as_deref()), (Some("f"), Some("c1")), "{call:.9}");
                assert_eq!(payload.tool_call_id.as_deref(), Some("t1"), "{call:.9}");
                assert_eq!(Value::Object(payload.arguments), json!({"city": "Bern \u{fffd}"}));
                assert_eq!(payload.from_number.as_deref(), Some("+12025550143"));
            }
        }
        let bare = parse(b"\xef\xbb\xbf{\"city\":\"Z\xfcrich\",\"n\":1e400}", None, None).unwrap();
        assert_eq!(Value::Object(bare.arguments), json!({"city": "Z\u{fffd}rich", "n": null}));
    }

    #[test]
    fn bodies_are_recognized_by_their_content() {
        let call = || BodyKind::FunctionCall("f".to_owned());
        for (body, kind) in [
            (json!({"event": "call_ended", "call": {"call_id": "c"}}), BodyKind::Event),
            (json!({"event": "call_ended", "name": "f", "call": {"call_id": "c"}}), BodyKind::Event),
            (json!({"event": "call_inbound", "call_inbound": {}}), BodyKind::Event),
            (json!({"event": "wedding", "place": {"city": "Bern"}}), BodyKind::Event),
            (json!({"event": "wedding", "city": "Bern"}), BodyKind::OtherObject),
            (json!({"event": null, "name": "f", "call": {}}), call()),
            (json!({"name": "f", "call": {}, "args": {"event": "call_ended", "call": {}}}), call()),
            (json!({"name": "f", "args": {}}), call()),
            (json!({"name": "f", "city": "Bern"}), BodyKind::OtherObject),
            (json!({"name": "", "args": {}}), BodyKind::OtherObject),
            (json!({}), BodyKind::OtherObject),
            (json!([{"event": "call_ended"}]), BodyKind::NotObject),
        ] {
            assert_eq!(body_kind(body.to_string().as_bytes()), kind, "{body}");
        }
        assert_eq!(body_kind(b"\xef\xbb\xbf{\"name\":\"f\",\"args\":{\"x\":1e400}}"), call());
        assert_eq!(body_kind(b""), BodyKind::NotObject);
    }

    #[test]
    fn only_the_pending_tool_call_with_equal_arguments_has_the_id() {
        let item = |role: &str| json!({"role": role, "tool_call_id": "t1", "name": "f", "arguments": "{\"a\":1}", "content": "done"});
        let tool_call_id = |items: Value, args: Value| {
            parse_json(&json!({"name": "f", "call": {"transcript_with_tool_calls": items}, "args": args})).tool_call_id
        };
        assert_eq!(tool_call_id(json!([item("tool_call_invocation")]), json!({"a": 1})).as_deref(), Some("t1"));
        assert_eq!(tool_call_id(json!([item("tool_call_invocation")]), json!({"a": 2})), None);
        assert_eq!(
            tool_call_id(json!([item("tool_call_invocation"), item("tool_call_result")]), json!({"a": 1})),
            None
        );
    }
}
