//! Checks arguments against the JSON Schema of a function.

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::argument_problems::{ArgumentProblem, MAX_PROBLEMS, describe_error};

/// A compiled schema of the type `object`.
pub(super) struct ArgumentsSchema {
    json: Value,
    validator: Validator,
}

impl ArgumentsSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// It is not a JSON Schema, its type is not `object`, or it refers to another document.
    pub(super) fn new(schema: &Map<String, Value>) -> Result<Self, String> {
        let json = Value::Object(schema.clone());
        // Checked before the schema is built: nothing is fetched, neither over the network nor from a file.
        if let Some(reference) = find_external_reference(&json) {
            return Err(format!(
                "the reference `{reference}` leads outside the schema; move its target into `$defs` and refer to that"
            ));
        }
        if schema.get("type").is_some_and(|kind| kind != "object") {
            return Err("its `type` must be \"object\": Retell sends arguments by name".to_owned());
        }
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&json).map_err(|error| {
            // Masked, so that no value of the schema is printed: a default or an example may be personal data.
            format!("it is not a JSON Schema: {} at `{}`", error.masked(), error.instance_path().as_str())
        })?;
        Ok(Self { json, validator })
    }

    pub(super) fn as_json(&self) -> &Value {
        &self.json
    }

    /// Converts values of a query, which are all text, to numbers and booleans where the schema has that type. Text
    /// that does not fit stays as it is and is reported by [`ArgumentsSchema::validate`].
    pub(super) fn coerce_query_values(&self, arguments: &mut Map<String, Value>) {
        for (name, value) in arguments.iter_mut() {
            let Some("integer" | "number" | "boolean") = self.type_of(name).and_then(Value::as_str) else { continue };
            let Value::String(text) = &value else { continue };
            if let Ok(converted @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str(text) {
                *value = converted;
            }
        }
    }

    /// Removes arguments that are null, optional and of a type without null. Models in strict mode must name every
    /// argument, and send null for the ones they leave out.
    pub(super) fn remove_optional_nulls(&self, arguments: &mut Map<String, Value>) {
        arguments.retain(|name, value| !value.is_null() || self.is_required(name) || self.allows_null(name));
    }

    fn is_required(&self, name: &str) -> bool {
        let required = self.json.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|required_name| required_name == name))
    }

    fn allows_null(&self, name: &str) -> bool {
        match self.type_of(name) {
            Some(Value::String(one)) => one == "null",
            Some(Value::Array(several)) => several.iter().any(|one| one == "null"),
            // Without a type, `enum` or another rule may allow null: leave the decision to the validator.
            _ => true,
        }
    }

    fn type_of(&self, name: &str) -> Option<&Value> {
        self.json.get("properties")?.get(name)?.get("type")
    }

    pub(super) fn validate(&self, arguments: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let instance = Value::Object(arguments.clone());
        if self.validator.is_valid(&instance) {
            return Vec::new();
        }
        // Bounded twice: in the errors that are searched for, and because one error can stand for many arguments.
        let errors = self.validator.iter_errors(&instance).take(MAX_PROBLEMS);
        let problems = errors.flat_map(|error| describe_error(&error, &self.json));
        problems.take(MAX_PROBLEMS).collect()
    }
}

/// The first reference in the schema, at any depth, that does not begin with `#`.
fn find_external_reference(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(fields) => {
            let references = ["$ref", "$dynamicRef", "$recursiveRef"];
            let mut own_references = references.iter().filter_map(|key| fields.get(*key)?.as_str());
            let external = own_references.find(|reference| !reference.starts_with('#'));
            external.or_else(|| fields.values().find_map(find_external_reference))
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
        let Value::Object(fields) = text else { panic!("not an object") };
        ArgumentsSchema::new(&fields)
    }

    fn object(text: &Value) -> Map<String, Value> {
        text.as_object().unwrap().clone()
    }

    #[test]
    fn problems_name_the_rule_and_not_the_value() {
        let schema = schema(json!({
            "type": "object", "additionalProperties": false, "required": ["city"],
            "properties": {
                "city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 1},
                "unit": {"enum": ["c", "f"]}, "when": {"type": "string", "format": "date"},
                "stay": {"type": "object", "properties": {"night": {"type": ["boolean", "null"]}}}
            }
        }))
        .unwrap();
        let problems = |arguments: Value| format_problems(&schema.validate(&object(&arguments)));
        for (arguments, expected) in [
            (json!({"city": "Bern", "days": 2, "unit": "c", "when": "2026-11-21"}), ""),
            (json!({}), "`city` is missing"),
            (json!({"city": 4}), "`city` must be text, not a number"),
            (json!({"city": ""}), "`city` must not be empty"),
            (json!({"city": "B", "days": "secret"}), "`days` must be a whole number, not text"),
            (json!({"city": "B", "days": 0}), "`days` must be at least 1"),
            (json!({"city": "B", "unit": "secret"}), "`unit` must be one of \"c\", \"f\""),
            (json!({"city": "B", "when": "secret"}), "`when` must be a date such as 2026-11-21"),
            (json!({"city": "B", "more": "secret"}), "`more` is not an argument of this function; leave it out"),
        ] {
            assert_eq!(problems(arguments), expected);
        }
        let nested = problems(json!({"city": "B", "stay": {"night": "secret"}}));
        assert!(nested.starts_with("`stay.night` must be ") && nested.contains("true or false"), "{nested}");
    }

    #[test]
    fn every_unexpected_argument_and_every_alternative_is_named() {
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
        let problems = |arguments: Value| format_problems(&schema.validate(&object(&arguments)));
        for (arguments, expected) in [
            (
                json!({"a": "secret", "b": 1}),
                "`a` is not an argument of this function; leave it out; `b` is not an argument of this function; leave \
                 it out",
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
            assert_eq!(problems(arguments), expected);
        }
    }

    #[test]
    fn external_references_and_invalid_schemas_are_errors() {
        for outside in ["https://example.com/s.json", "file:///etc/passwd", "other.json#/x"] {
            let error = schema(json!({"properties": {"a": {"$ref": outside}}})).err().unwrap();
            assert!(error.contains("leads outside"), "{error}");
        }
        assert!(schema(json!({"minimum": "7"})).err().unwrap().contains("not a JSON Schema"));
        for kind in [json!("array"), json!(["object", "null"]), json!(7)] {
            assert!(schema(json!({ "type": kind })).err().unwrap().contains("must be \"object\""), "{kind}");
        }
        let internal = json!({"$defs": {"t": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/t"}}});
        assert_eq!(schema(internal).unwrap().validate(&object(&json!({"a": 1}))).len(), 1);
    }

    #[test]
    fn null_for_an_optional_argument_is_removed() {
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
    fn query_values_are_converted_to_the_type_of_the_schema() {
        let schema = schema(json!({"properties": {"n": {"type": "integer"}, "s": {"type": "string"}}})).unwrap();
        let mut arguments = object(&json!({"n": "4", "s": "5"}));
        schema.coerce_query_values(&mut arguments);
        assert_eq!(Value::Object(arguments), json!({"n": 4, "s": "5"}));
    }
}
