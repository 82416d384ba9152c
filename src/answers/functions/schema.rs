//! Arguments against their JSON Schema, and what is wrong in words an agent's model can act on.

use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde::Serialize;
use serde_json::{Map, Value};

/// More would not help the model.
const MOST_PROBLEMS: usize = 10;

/// A schema that was checked.
pub(super) struct Schema {
    text: Value,
    validator: Validator,
}

/// What is wrong with an argument. Never its value: that may be about a person.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Problem {
    /// `address.city`; empty for all of them together.
    pub(super) argument: String,
    pub(super) problem: String,
}

impl Schema {
    /// Refuses what is no schema, and references to anywhere else: nothing is fetched.
    pub(super) fn new(schema: &Map<String, Value>) -> Result<Self, String> {
        let text = Value::Object(schema.clone());
        if let Some(reference) = outside(&text) {
            return Err(format!(
                "the reference `{reference}` leads outside the schema; put what it names into `$defs`"
            ));
        }
        if schema.get("type").is_some_and(|kind| kind != "object") {
            return Err("its `type` must be \"object\": Retell sends arguments by their names".to_owned());
        }
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&text).map_err(|error| {
            let place = error.instance_path().as_str();
            format!("it is no JSON Schema: {} at `{place}`", error.masked())
        })?;
        Ok(Self { text, validator })
    }

    pub(super) fn text(&self) -> &Value {
        &self.text
    }

    /// Values out of a query are text: those that are to be numbers or truth values are made so where they can be.
    pub(super) fn coerce(&self, arguments: &mut Map<String, Value>) {
        for (name, value) in arguments.iter_mut() {
            let wanted = self.text.get("properties").and_then(|all| all.get(name)).and_then(|one| one.get("type"));
            if let (Some("integer" | "number" | "boolean"), Value::String(text)) =
                (wanted.and_then(Value::as_str), &value)
                && let Ok(read @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str(text)
            {
                *value = read;
            }
        }
    }

    pub(super) fn problems(&self, arguments: &Map<String, Value>) -> Vec<Problem> {
        let instance = Value::Object(arguments.clone());
        if self.validator.is_valid(&instance) {
            return Vec::new();
        }
        let problem = |error: jsonschema::ValidationError<'_>| {
            let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
            let (inside, problem) = said(&error);
            let argument = match inside {
                Some(name) if place.is_empty() => name,
                Some(name) => format!("{place}.{name}"),
                None => place,
            };
            Problem { argument, problem }
        };
        self.validator.iter_errors(&instance).take(MOST_PROBLEMS).map(problem).collect()
    }
}

/// All of them in a sentence.
pub(super) fn sentence(problems: &[Problem]) -> String {
    let one = |problem: &Problem| match problem.argument.as_str() {
        "" => format!("they {}", problem.problem),
        name => format!("`{name}` {}", problem.problem),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The property it is about, if it is one inside of the place, and what is wrong.
fn said(error: &jsonschema::ValidationError<'_>) -> (Option<String>, String) {
    use ValidationErrorKind as Kind;
    let plain = |text: String| (None, text);
    match error.kind() {
        Kind::Required { property } => (property.as_str().map(str::to_owned), "is missing".to_owned()),
        Kind::AdditionalProperties { unexpected } => {
            (unexpected.first().cloned(), "is no argument of this function; leave it out".to_owned())
        }
        Kind::Type { kind } => plain(format!("must be {}, not {}", wanted(kind), found(error.instance()))),
        Kind::Enum { options } => plain(format!("must be one of {}", listed(options))),
        Kind::Constant { expected_value } => plain(format!("must be {expected_value}")),
        Kind::Format { format } => plain(format!("must be {}", form(format))),
        Kind::Pattern { pattern } => plain(format!("must match the pattern {pattern}")),
        Kind::Minimum { limit } => plain(format!("must be at least {limit}")),
        Kind::Maximum { limit } => plain(format!("must be at most {limit}")),
        Kind::ExclusiveMinimum { limit } => plain(format!("must be more than {limit}")),
        Kind::ExclusiveMaximum { limit } => plain(format!("must be less than {limit}")),
        Kind::MinLength { limit: 1 } => plain("must not be empty".to_owned()),
        Kind::MinLength { limit } => plain(format!("must have at least {limit} characters")),
        Kind::MaxLength { limit } => plain(format!("must have at most {limit} characters")),
        Kind::MinItems { limit } => plain(format!("must have at least {limit} entries")),
        Kind::MaxItems { limit } => plain(format!("must have at most {limit} entries")),
        Kind::MultipleOf { multiple_of } => plain(format!("must be a multiple of {multiple_of}")),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            plain("must have one of the forms the schema allows".to_owned())
        }
        kind => plain(format!("must satisfy `{}` of the schema", kind.keyword())),
    }
}

fn wanted(kind: &TypeKind) -> String {
    let name = |text: &str| match text {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    };
    match kind {
        TypeKind::Single(one) => name(&one.to_string()).to_owned(),
        TypeKind::Multiple(several) => {
            several.iter().map(|one| name(&one.to_string()).to_owned()).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn listed(options: &Value) -> String {
    let Some(options) = options.as_array() else { return options.to_string() };
    options.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn form(format: &str) -> String {
    match format {
        "date" => "a date such as 2026-11-21".to_owned(),
        "time" => "a time such as 14:30:00Z".to_owned(),
        "date-time" => "a date and time such as 2026-11-21T14:30:00Z".to_owned(),
        "email" => "an e-mail address".to_owned(),
        other => format!("of the format `{other}`"),
    }
}

/// A reference that does not stay inside.
fn outside(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(fields) => {
            let references = ["$ref", "$dynamicRef", "$recursiveRef"];
            let own = references.iter().filter_map(|key| fields.get(*key)?.as_str());
            own.into_iter().find(|reference| !reference.starts_with('#')).or_else(|| fields.values().find_map(outside))
        }
        Value::Array(items) => items.iter().find_map(outside),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(text: Value) -> Result<Schema, String> {
        let Value::Object(fields) = text else { panic!("no object") };
        Schema::new(&fields)
    }

    fn object(text: &Value) -> Map<String, Value> {
        text.as_object().unwrap().clone()
    }

    #[test]
    fn problems_are_words_without_the_value() {
        let schema = schema(json!({
            "type": "object", "additionalProperties": false, "required": ["city"],
            "properties": {
                "city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 1},
                "unit": {"enum": ["c", "f"]}, "when": {"type": "string", "format": "date"},
                "stay": {"type": "object", "properties": {"night": {"type": ["boolean", "null"]}}}
            }
        }))
        .unwrap();
        let said = |arguments: Value| sentence(&schema.problems(&object(&arguments)));
        for (arguments, wanted) in [
            (json!({"city": "Bern", "days": 2, "unit": "c", "when": "2026-11-21"}), ""),
            (json!({}), "`city` is missing"),
            (json!({"city": 4}), "`city` must be text, not a number"),
            (json!({"city": ""}), "`city` must not be empty"),
            (json!({"city": "B", "days": "secret"}), "`days` must be a whole number, not text"),
            (json!({"city": "B", "days": 0}), "`days` must be at least 1"),
            (json!({"city": "B", "unit": "secret"}), "`unit` must be one of \"c\", \"f\""),
            (json!({"city": "B", "when": "secret"}), "`when` must be a date such as 2026-11-21"),
            (json!({"city": "B", "more": "secret"}), "`more` is no argument of this function; leave it out"),
        ] {
            assert_eq!(said(arguments), wanted);
        }
        let nested = said(json!({"city": "B", "stay": {"night": "secret"}}));
        assert!(nested.starts_with("`stay.night` must be ") && nested.contains("true or false"), "{nested}");
    }

    #[test]
    fn nothing_is_fetched_and_no_schema_is_refused() {
        for outside in ["https://example.com/s.json", "file:///etc/passwd", "other.json#/x"] {
            let refused = schema(json!({"properties": {"a": {"$ref": outside}}})).err().unwrap();
            assert!(refused.contains("leads outside"), "{refused}");
        }
        assert!(schema(json!({"minimum": "7"})).err().unwrap().contains("no JSON Schema"));
        for kind in [json!("array"), json!(["object", "null"]), json!(7)] {
            assert!(schema(json!({ "type": kind })).err().unwrap().contains("must be \"object\""), "{kind}");
        }
        let own = json!({"$defs": {"t": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/t"}}});
        assert_eq!(schema(own).unwrap().problems(&object(&json!({"a": 1}))).len(), 1);
    }

    #[test]
    fn what_came_in_a_query_becomes_what_it_is() {
        let schema = schema(json!({"properties": {"n": {"type": "integer"}, "s": {"type": "string"}}})).unwrap();
        let mut arguments = object(&json!({"n": "4", "s": "5"}));
        schema.coerce(&mut arguments);
        assert_eq!(Value::Object(arguments), json!({"n": 4, "s": "5"}));
    }
}
