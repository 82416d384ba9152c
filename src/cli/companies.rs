use clap::{Args, Subcommand};

use super::context;
use super::output::{self, CliResult};
use crate::operations::companies::list_companies;
use crate::view::CompanyView;

#[derive(Debug, Subcommand)]
pub(super) enum CompaniesCommand {
    /// List the companies of the settings with their webhook URLs
    List(CompaniesListArgs),
}

#[derive(Debug, Args)]
pub(super) struct CompaniesListArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl CompaniesCommand {
    pub(super) fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run(),
        }
    }
}

impl CompaniesListArgs {
    fn run(self) -> CliResult {
        let companies = list_companies(&context::load_settings()?, context::PRINCIPAL);
        if self.json {
            return output::print_json(&companies);
        }
        let row = |company: CompanyView| {
            let agents = if company.agent_ids.is_empty() { "any".into() } else { company.agent_ids.len().to_string() };
            let name = company.name.unwrap_or_else(|| "-".to_owned());
            vec![company.slug, name, company.keys.to_string(), agents, company.webhook_url]
        };
        let header = ["COMPANY", "NAME", "KEYS", "AGENTS", "WEBHOOK"];
        output::print_table(&header, companies.into_iter().map(row).collect(), "")
    }
}
