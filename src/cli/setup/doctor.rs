//! `doctor`: checks the common reasons why events do not arrive, and prints what to do.

use clap::Args;

use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::progress::draw_progress;
use crate::operations::OperationError;
use crate::operations::config::check_settings;
use crate::operations::doctor::{DoctorRequest, diagnose_setup};
use crate::view::{DoctorFinding, FindingLevel};

#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    /// Also check the API keys with Retell's API, that the API behaves as expected, and this machine's clock; reads only, and
    /// needs internet access
    #[arg(long)]
    online: bool,
    /// URL of the server whose clock `--online` compares with
    #[arg(long, value_name = "URL", default_value = "https://api.retellai.com", hide = true)]
    clock_url: String,
    /// Also read the whole store: every page of the databases and every body, and list the files; works while the
    /// receiver runs
    #[arg(long)]
    store: bool,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    pub(in crate::cli) async fn run(self) -> CliResult {
        let sources = context::config_sources().map_err(OperationError::from);
        let settings = sources.and_then(|sources| check_settings(&sources));
        let request =
            DoctorRequest { clock_url: self.online.then_some(self.clock_url.as_str()), inspect_store: self.store };
        let clock = Clock::system();
        let findings = diagnose_setup(settings, &clock, context::PRINCIPAL, request, &mut draw_progress()).await?;
        if self.json {
            output::print_json(&findings)?;
        } else {
            findings.iter().try_for_each(print_finding)?;
        }
        let has_problem = findings.iter().any(|finding| finding.level == FindingLevel::Problem);
        if has_problem { Err(CliError::AlreadyPrinted) } else { Ok(()) }
    }
}

fn print_finding(finding: &DoctorFinding) -> CliResult {
    let level = match finding.level {
        FindingLevel::Ok => "ok",
        FindingLevel::Warning => "WARNING",
        FindingLevel::Problem => "PROBLEM",
    };
    output::print_line(format!("{level:<8} {:<14} {}", finding.check, output::escape_text(&finding.text)))
}
