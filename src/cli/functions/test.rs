//! `functions test`: calls one function as Retell would.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::input;
use crate::cli::output::{self, CliError, CliResult};
use crate::config::Settings;
use crate::operations::functions::{FunctionTest, test_function};
use crate::operations::receiver::REJECTED_MESSAGE;
use crate::view::FunctionTestView;

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsTestArgs {
    /// Name of the function to call
    name: String,
    /// Arguments, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
    /// File with the call object, or with a webhook body that contains one [default: a call with a new id]
    #[arg(long, value_name = "FILE")]
    call: Option<PathBuf>,
    /// Use the URL of this company, and sign with its first key
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Base URL of the receiver [default: server.url, otherwise the receiver on this machine]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl FunctionsTestArgs {
    pub(super) async fn run(self, settings: &Settings) -> CliResult {
        let arguments = serde_json::from_str(&self.args)
            .map_err(|error| CliError::Message(format!("--args: not a JSON object: {error}")))?;
        let call = self.call.as_deref().map(read_call).transpose()?;
        let test = FunctionTest { function: self.name, arguments, call, company: self.company, base_url: self.to };
        let result = test_function(settings, &Clock::system(), context::PRINCIPAL, test).await?;
        if self.json {
            output::print_json(&result)?;
        } else {
            let FunctionTestView { status, outcome, duration_ms, answer_text, .. } = &result;
            let outcome = outcome.as_deref().map(|outcome| format!(" {}", output::escape_text(outcome)));
            output::print_line(format!(
                "{status}{} in {duration_ms} ms: {}",
                outcome.unwrap_or_default(),
                output::escape_text(answer_text)
            ))?;
        }
        match result.status {
            _ if result.succeeded => Ok(()),
            401 => Err(CliError::Message(REJECTED_MESSAGE.into())),
            _ => Err(CliError::AlreadyPrinted),
        }
    }
}

fn read_call(file: &Path) -> Result<Value, CliError> {
    serde_json::from_slice(&input::read_file_or_stdin(file)?)
        .map_err(|error| CliError::Message(format!("--call {}: not valid JSON: {error}", file.display())))
}
