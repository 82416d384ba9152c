//! How templates of the settings are set up: with fuel, so that each ends, and with nothing written for what is absent.

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

/// An environment whose templates may take so many steps.
#[must_use]
pub(crate) fn limited_environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(fuel));
    // What is absent is left out rather than written as `none`.
    environment.set_formatter(|out, _, value| match value {
        absent if absent.is_none() || absent.is_undefined() => Ok(()),
        value => write!(out, "{value}").map_err(Error::from),
    });
    environment
}

/// Whether the author has to mend it; other errors come from what a template is given.
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

/// With what the template's author wrote: for start-up.
#[must_use]
pub(crate) fn describe_error(error: &Error) -> String {
    error.detail().map_or_else(|| error_location(error), |detail| format!("{}: {detail}", error_location(error)))
}

/// Without anything that the template or its variables hold.
#[must_use]
pub(crate) fn error_location(error: &Error) -> String {
    error.line().map_or_else(|| error.kind().to_string(), |line| format!("{} in line {line}", error.kind()))
}
