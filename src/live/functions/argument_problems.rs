//! What is wrong with arguments, in words an agent's model can act on.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde::Serialize;
use serde_json::Value;

/// More would not help the model.
pub(super) const MAX_PROBLEMS: usize = 10;
/// Of one form among several.
const MAX_PROBLEMS_PER_ALTERNATIVE: usize = 3;
/// Characters of a rule that is told as it stands.
const MAX_QUOTED_RULE_BYTES: usize = 200;

/// What is wrong with an argument. Never its value: that may be about a person.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ArgumentProblem {
    /// `address.city`; empty for all of them together.
    pub(super) argument: String,
    pub(super) problem: String,
}

/// All of them in a sentence.
pub(super) fn format_problems(problems: &[ArgumentProblem]) -> String {
    let one = |problem: &ArgumentProblem| match problem.argument.as_str() {
        "" => format!("they {}", problem.problem),
        name => format!("`{name}` {}", problem.problem),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What is wrong, of each argument it is about.
pub(super) fn describe_error(error: &ValidationError<'_>, schema: &Value) -> Vec<ArgumentProblem> {
    let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let inside = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    let of = |names: &[String], problem: &str| {
        let problem = |name: &String| ArgumentProblem { argument: inside(name), problem: problem.to_owned() };
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
            let problem = describe_value_rule(kind)
                .or_else(|| describe_size_rule(kind))
                .unwrap_or_else(|| describe_type_or_alternatives(error, schema));
            vec![ArgumentProblem { argument: place, problem }]
        }
    }
}

/// Of a single value.
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

/// Of a list or an object.
fn describe_size_rule(kind: &Kind) -> Option<String> {
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
fn describe_type_or_alternatives(error: &ValidationError<'_>, schema: &Value) -> String {
    match error.kind() {
        Kind::Type { kind } => format!("must be {}, not {}", expected_type(kind), actual_type(error.instance())),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let one = |errors: &Vec<ValidationError<'_>>| {
                let problems: Vec<_> = errors
                    .iter()
                    .flat_map(|error| describe_error(error, schema))
                    .take(MAX_PROBLEMS_PER_ALTERNATIVE)
                    .collect();
                format_alternative(error, &problems)
            };
            let all: Vec<_> = context.iter().take(MAX_PROBLEMS).map(one).collect();
            format!("must have one of {} forms: {}", context.len(), all.join(", or "))
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
            // What the schema says is no secret: the model was given it.
            let wanted = schema.pointer(error.schema_path().as_str()).map(Value::to_string);
            let short = wanted.filter(|wanted| wanted.len() <= MAX_QUOTED_RULE_BYTES);
            let rule = short.map(|wanted| format!(": {wanted}")).unwrap_or_default();
            format!("must satisfy `{}` of the schema{rule}", kind.keyword())
        }
    }
}

/// Without repeating where everything is.
fn format_alternative(error: &ValidationError<'_>, problems: &[ArgumentProblem]) -> String {
    let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let one = |problem: &ArgumentProblem| {
        let argument = problem.argument.strip_prefix(&place).unwrap_or(&problem.argument).trim_start_matches('.');
        if argument.is_empty() {
            format!("it {}", problem.problem)
        } else {
            format!("`{argument}` {}", problem.problem)
        }
    };
    format!("({})", problems.iter().map(one).collect::<Vec<_>>().join(" and "))
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
