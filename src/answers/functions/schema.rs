//! Arguments against their JSON Schema, and what is wrong in words an agent's model can act on.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde::Serialize;
use serde_json::{Map, Value};

/// More would not help the model.
const MOST_PROBLEMS: usize = 10;
/// Of one form among several.
const MOST_OF_ONE: usize = 3;
/// Characters of a rule that is told as it stands.
const LONGEST_RULE: usize = 200;

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
        let errors = self.validator.iter_errors(&instance).take(MOST_PROBLEMS);
        let problems = errors.flat_map(|error| said(&error, &self.text));
        problems.take(MOST_PROBLEMS).collect()
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

/// What is wrong, of each argument it is about.
fn said(error: &ValidationError<'_>, schema: &Value) -> Vec<Problem> {
    let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let inside = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    let of = |names: &[String], problem: &str| {
        let problem = |name: &String| Problem { argument: inside(name), problem: problem.to_owned() };
        names.iter().map(problem).collect()
    };
    match error.kind() {
        Kind::Required { property } => {
            of(&property.as_str().map(str::to_owned).into_iter().collect::<Vec<_>>(), "is missing")
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            of(unexpected, "is no argument of this function; leave it out")
        }
        kind => {
            let problem = bounds(kind).or_else(|| entries(kind)).unwrap_or_else(|| form(error, schema));
            vec![Problem { argument: place, problem }]
        }
    }
}

/// Of a single value.
fn bounds(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Enum { options } => format!("must be one of {}", listed(options)),
        Kind::Constant { expected_value } => format!("must be {expected_value}"),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::Format { format } => format!("must be {}", like(format)),
        Kind::ContentEncoding { content_encoding } => format!("must be encoded as {content_encoding}"),
        Kind::ContentMediaType { content_media_type } => format!("must hold {content_media_type}"),
        _ => return None,
    })
}

/// Of a list or an object.
fn entries(kind: &Kind) -> Option<String> {
    let of = |limit: &u64| if *limit == 1 { "1 entry".to_owned() } else { format!("{limit} entries") };
    Some(match kind {
        Kind::MinItems { limit } | Kind::MinProperties { limit } => format!("must have at least {}", of(limit)),
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => format!("must have at most {}", of(limit)),
        Kind::AdditionalItems { limit } => format!("must have at most {}", of(&(*limit as u64))),
        Kind::UnevaluatedItems { .. } => "has more entries than are allowed; leave the last ones out".to_owned(),
        Kind::UniqueItems => "must not have the same entry twice".to_owned(),
        Kind::FalseSchema => "is not allowed; leave it out".to_owned(),
        _ => return None,
    })
}

/// Of what it is, and of alternatives: what is wrong with each of them.
fn form(error: &ValidationError<'_>, schema: &Value) -> String {
    match error.kind() {
        Kind::Type { kind } => format!("must be {}, not {}", wanted(kind), found(error.instance())),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let one = |errors: &Vec<ValidationError<'_>>| {
                let problems: Vec<_> = errors.iter().flat_map(|error| said(error, schema)).take(MOST_OF_ONE).collect();
                within(error, &problems)
            };
            let all: Vec<_> = context.iter().take(MOST_PROBLEMS).map(one).collect();
            format!("must have one of {} forms: {}", context.len(), all.join(", or "))
        }
        Kind::OneOfMultipleValid { .. } => {
            "has several of the forms of which it may have only one; give what one of them needs and leave out the rest"
                .to_owned()
        }
        Kind::PropertyNames { error } => {
            let names = sentence(&said(error, schema));
            format!("has an entry with a name that is not allowed: {names}")
        }
        kind => {
            // What the schema says is no secret: the model was given it.
            let wanted = schema.pointer(error.schema_path().as_str()).map(Value::to_string);
            let short = wanted.filter(|wanted| wanted.len() <= LONGEST_RULE);
            let rule = short.map(|wanted| format!(": {wanted}")).unwrap_or_default();
            format!("must satisfy `{}` of the schema{rule}", kind.keyword())
        }
    }
}

/// Without repeating where everything is.
fn within(error: &ValidationError<'_>, problems: &[Problem]) -> String {
    let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let one = |problem: &Problem| {
        let argument = problem.argument.strip_prefix(&place).unwrap_or(&problem.argument).trim_start_matches('.');
        if argument.is_empty() {
            format!("it {}", problem.problem)
        } else {
            format!("`{argument}` {}", problem.problem)
        }
    };
    format!("({})", problems.iter().map(one).collect::<Vec<_>>().join(" and "))
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

fn like(format: &str) -> String {
    match format {
        "date" => "a date such as 2026-11-21".to_owned(),
        "time" => "a time such as 14:30:00Z".to_owned(),
        "date-time" => "a date and time such as 2026-11-21T14:30:00Z".to_owned(),
        "email" => "an e-mail address".to_owned(),
        "uri" => "an address such as https://example.com/".to_owned(),
        "uuid" => "a UUID such as 0b9c3f5e-8d2a-4c1b-9f60-2a7d4e5b6c81".to_owned(),
        "duration" => "a duration such as PT1H30M".to_owned(),
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
    fn every_unexpected_argument_is_named_and_every_form_is_told() {
        let schema = schema(json!({
            "type": "object", "additionalProperties": false, "maxProperties": 3,
            "properties": {
                "when": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}]},
                "who": {"oneOf": [{"type": "object", "required": ["name"]}, {"type": "object", "required": ["number"]}]},
                "tags": {"type": "array", "uniqueItems": true, "contains": {"const": "a"}, "maxItems": 1},
                "not": {"not": {"const": "no"}}, "never": false
            }
        }))
        .unwrap();
        let said = |arguments: Value| sentence(&schema.problems(&object(&arguments)));
        for (arguments, wanted) in [
            (
                json!({"a": "secret", "b": 1}),
                "`a` is no argument of this function; leave it out; `b` is no argument of this function; leave it out",
            ),
            (
                json!({"when": false}),
                "`when` must have one of 2 forms: (it must be text, not true or false), or (it must be a whole number, not \
                 true or false)",
            ),
            (
                json!({"who": {"age": "secret"}}),
                "`who` must have one of 2 forms: (`name` is missing), or (`number` is missing)",
            ),
            (
                json!({"who": {"name": "secret", "number": "secret"}}),
                "`who` has several of the forms of which it may have only one; give what one of them needs and leave out \
                 the rest",
            ),
            (
                json!({"tags": ["a", "a"]}),
                "`tags` must have at most 1 entry; `tags` must not have the same entry twice",
            ),
            (json!({"tags": ["b"]}), "`tags` must satisfy `contains` of the schema: {\"const\":\"a\"}"),
            (json!({"not": "no"}), "`not` must satisfy `not` of the schema: {\"const\":\"no\"}"),
            (json!({"never": 1}), "`never` is not allowed; leave it out"),
        ] {
            assert_eq!(said(arguments), wanted);
        }
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
