//! Turns schema violations into words that an agent's model can act on. The caller's words are never repeated: a
//! problem names the argument and the rule, not the value.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde::Serialize;
use serde_json::Value;

/// Problems per answer. The model corrects the first few and calls again.
pub(super) const MAX_PROBLEMS: usize = 10;
/// Problems per alternative of `anyOf` and `oneOf`.
const MAX_PROBLEMS_PER_ALTERNATIVE: usize = 3;
/// Longest rule of the schema, in bytes, that is quoted as JSON.
const MAX_QUOTED_RULE_BYTES: usize = 200;

/// A problem with an argument. Never contains the argument's value, which may be personal data.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ArgumentProblem {
    /// The path of the argument, such as `address.city`; empty for the arguments as a whole.
    pub(super) argument: String,
    pub(super) problem: String,
}

pub(super) fn format_problems(problems: &[ArgumentProblem]) -> String {
    let format_one = |problem: &ArgumentProblem| match problem.argument.as_str() {
        "" => format!("they {}", problem.problem),
        name => format!("`{name}` {}", problem.problem),
    };
    problems.iter().map(format_one).collect::<Vec<_>>().join("; ")
}

/// The problems that one violation stands for: several when it names several unexpected arguments.
pub(super) fn describe_error(error: &ValidationError<'_>, schema: &Value) -> Vec<ArgumentProblem> {
    let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let path_of = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    let problem_of =
        |name: &str, problem: &str| ArgumentProblem { argument: path_of(name), problem: problem.to_owned() };
    match error.kind() {
        // For these two the violation is located at the object; the model needs the name of the property.
        Kind::Required { property } => {
            property.as_str().map(|name| problem_of(name, "is missing")).into_iter().collect()
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let problem = "is not an argument of this function; leave it out";
            unexpected.iter().map(|name| problem_of(name, problem)).collect()
        }
        kind => {
            let problem = describe_value_rule(kind)
                .or_else(|| describe_size_rule(kind))
                .unwrap_or_else(|| describe_type_or_alternatives(error, schema));
            vec![ArgumentProblem { argument: place, problem }]
        }
    }
}

/// Rules about a single value.
fn describe_value_rule(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Enum { options } => format!("must be one of {}", format_options(options)),
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
        Kind::Format { format } => format!("must be {}", describe_format(format)),
        Kind::ContentEncoding { content_encoding } => format!("must be encoded as {content_encoding}"),
        Kind::ContentMediaType { content_media_type } => format!("must hold {content_media_type}"),
        _ => return None,
    })
}

/// Rules about the size of a list or an object.
fn describe_size_rule(kind: &Kind) -> Option<String> {
    let entries = |limit: &u64| if *limit == 1 { "1 entry".to_owned() } else { format!("{limit} entries") };
    Some(match kind {
        Kind::MinItems { limit } | Kind::MinProperties { limit } => format!("must have at least {}", entries(limit)),
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => format!("must have at most {}", entries(limit)),
        Kind::AdditionalItems { limit } => format!("must have at most {}", entries(&(*limit as u64))),
        Kind::UnevaluatedItems { .. } => "has more entries than are allowed; leave the last ones out".to_owned(),
        Kind::UniqueItems => "must not have the same entry twice".to_owned(),
        Kind::FalseSchema => "is not allowed; leave it out".to_owned(),
        _ => return None,
    })
}

/// Rules about the type, and about alternatives: why none of them fits. Everything else is quoted from the schema.
fn describe_type_or_alternatives(error: &ValidationError<'_>, schema: &Value) -> String {
    match error.kind() {
        Kind::Type { kind } => format!("must be {}, not {}", expected_type(kind), actual_type(error.instance())),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let describe_alternative = |errors: &Vec<ValidationError<'_>>| {
                let problems: Vec<_> = errors
                    .iter()
                    .flat_map(|error| describe_error(error, schema))
                    .take(MAX_PROBLEMS_PER_ALTERNATIVE)
                    .collect();
                format_alternative(error, &problems)
            };
            let alternatives: Vec<_> = context.iter().take(MAX_PROBLEMS).map(describe_alternative).collect();
            format!("must have one of {} forms: {}", context.len(), alternatives.join(", or "))
        }
        Kind::OneOfMultipleValid { .. } => {
            "has several of the forms of which it may have only one; give what one of them needs and leave out the rest"
                .to_owned()
        }
        Kind::PropertyNames { error } => {
            let names = format_problems(&describe_error(error, schema));
            format!("has an entry with a name that is not allowed: {names}")
        }
        kind => {
            // The schema can be quoted: the model has it as the parameters of its tool.
            let rule = schema.pointer(error.schema_path().as_str()).map(Value::to_string);
            match rule.filter(|rule| rule.len() <= MAX_QUOTED_RULE_BYTES) {
                Some(rule) => format!("must satisfy `{}` of the schema: {rule}", kind.keyword()),
                None => format!("must satisfy `{}` of the schema", kind.keyword()),
            }
        }
    }
}

/// The problems of one alternative, with paths relative to the argument that has the alternatives.
fn format_alternative(error: &ValidationError<'_>, problems: &[ArgumentProblem]) -> String {
    let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let format_one = |problem: &ArgumentProblem| {
        let argument = problem.argument.strip_prefix(&place).unwrap_or(&problem.argument).trim_start_matches('.');
        if argument.is_empty() {
            format!("it {}", problem.problem)
        } else {
            format!("`{argument}` {}", problem.problem)
        }
    };
    format!("({})", problems.iter().map(format_one).collect::<Vec<_>>().join(" and "))
}

fn expected_type(kind: &TypeKind) -> String {
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

fn actual_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn format_options(options: &Value) -> String {
    let Some(options) = options.as_array() else { return options.to_string() };
    options.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn describe_format(format: &str) -> String {
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
