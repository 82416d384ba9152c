//! Arguments against their JSON Schema.

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::argument_problems::{ArgumentProblem, MAX_PROBLEMS, describe_error};

/// A schema that was checked.
pub(super) struct ArgumentsSchema {
    json: Value,
    validator: Validator,
}

impl ArgumentsSchema {
    /// Refuses what is no schema, and references to anywhere else: nothing is fetched.
    pub(super) fn new(schema: &Map<String, Value>) -> Result<Self, String> {
        let text = Value::Object(schema.clone());
        if let Some(reference) = find_external_reference(&text) {
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
        Ok(Self { json: text, validator })
    }

    pub(super) fn as_json(&self) -> &Value {
        &self.json
    }

    /// Values out of a query are text: those that are to be numbers or truth values are made so where they can be.
    pub(super) fn coerce_query_values(&self, arguments: &mut Map<String, Value>) {
        for (name, value) in arguments.iter_mut() {
            let wanted = self.json.get("properties").and_then(|all| all.get(name)).and_then(|one| one.get("type"));
            if let (Some("integer" | "number" | "boolean"), Value::String(text)) =
                (wanted.and_then(Value::as_str), &value)
                && let Ok(read @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str(text)
            {
                *value = read;
            }
        }
    }

    /// Models that have to name every argument send null for those they leave out.
    pub(super) fn remove_optional_nulls(&self, arguments: &mut Map<String, Value>) {
        let required = self.json.get("required").and_then(Value::as_array);
        let type_of = |name: &str| self.json.get("properties")?.get(name)?.get("type");
        arguments.retain(|name, value| {
            let takes_null = || match type_of(name) {
                Some(Value::String(one)) => one == "null",
                Some(Value::Array(several)) => several.iter().any(|one| one == "null"),
                // No word on what it is to be.
                _ => true,
            };
            !value.is_null() || required.is_some_and(|names| names.iter().any(|other| other == name)) || takes_null()
        });
    }

    pub(super) fn validate(&self, arguments: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let instance = Value::Object(arguments.clone());
        if self.validator.is_valid(&instance) {
            return Vec::new();
        }
        let errors = self.validator.iter_errors(&instance).take(MAX_PROBLEMS);
        let problems = errors.flat_map(|error| describe_error(&error, &self.json));
        problems.take(MAX_PROBLEMS).collect()
    }
}

/// A reference that does not stay inside.
fn find_external_reference(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(fields) => {
            let references = ["$ref", "$dynamicRef", "$recursiveRef"];
            let own = references.iter().filter_map(|key| fields.get(*key)?.as_str());
            own.into_iter()
                .find(|reference| !reference.starts_with('#'))
                .or_else(|| fields.values().find_map(find_external_reference))
        }
        Value::Array(items) => items.iter().find_map(find_external_reference),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::argument_problems::format_problems;
    use super::*;

    fn schema(text: Value) -> Result<ArgumentsSchema, String> {
        let Value::Object(fields) = text else { panic!("no object") };
        ArgumentsSchema::new(&fields)
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
        let said = |arguments: Value| format_problems(&schema.validate(&object(&arguments)));
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
        let said = |arguments: Value| format_problems(&schema.validate(&object(&arguments)));
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
        assert_eq!(schema(own).unwrap().validate(&object(&json!({"a": 1}))).len(), 1);
    }

    #[test]
    fn null_for_what_may_be_left_out_is_left_out() {
        let schema = schema(json!({
            "required": ["must"],
            "properties": {"must": {"type": "string"}, "may": {"type": "string"}, "both": {"type": ["string", "null"]},
                "any": {"enum": [null, "a"]}}
        }))
        .unwrap();
        let mut arguments = object(&json!({"must": null, "may": null, "both": null, "any": null, "more": null}));
        schema.remove_optional_nulls(&mut arguments);
        assert_eq!(Value::Object(arguments.clone()), json!({"must": null, "both": null, "any": null, "more": null}));
        assert_eq!(format_problems(&schema.validate(&arguments)), "`must` must be text, not null");
    }

    #[test]
    fn what_came_in_a_query_becomes_what_it_is() {
        let schema = schema(json!({"properties": {"n": {"type": "integer"}, "s": {"type": "string"}}})).unwrap();
        let mut arguments = object(&json!({"n": "4", "s": "5"}));
        schema.coerce_query_values(&mut arguments);
        assert_eq!(Value::Object(arguments), json!({"n": 4, "s": "5"}));
    }
}
