//! The environment of templates from the settings. Fuel bounds their run time, and absent values render as nothing.

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

/// An environment whose templates fail after `fuel` instructions.
#[must_use]
pub(crate) fn limited_environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(fuel));
    // The default formatter would write `none` for absent values.
    environment.set_formatter(|out, _, value| match value {
        absent if absent.is_none() || absent.is_undefined() => Ok(()),
        value => write!(out, "{value}").map_err(Error::from),
    });
    environment
}

/// Whether the template itself is wrong. Other errors depend on the values that it is rendered with.
#[must_use]
pub(crate) fn is_template_error(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownMethod
            | ErrorKind::TooManyArguments
            | ErrorKind::MissingArgument
            | ErrorKind::TemplateNotFound
            | ErrorKind::OutOfFuel
    )
}

/// Describes an error with its detail, which may quote the template. Only for errors at startup, which contain no
/// event.
#[must_use]
pub(crate) fn describe_error(error: &Error) -> String {
    error.detail().map_or_else(|| error_location(error), |detail| format!("{}: {detail}", error_location(error)))
}

/// Describes an error by kind and line, without any text of the template or its variables.
#[must_use]
pub(crate) fn error_location(error: &Error) -> String {
    error.line().map_or_else(|| error.kind().to_string(), |line| format!("{} in line {line}", error.kind()))
}
