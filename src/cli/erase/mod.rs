//! `erase`: removes one person's data from everything that the receiver stores.

mod receipt;

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::context;
use super::output::{self, CliError, CliResult};
use super::progress::draw_progress;
use crate::base::clock::Clock;
use crate::operations::erase::{ErasureRequest, ErasureSubject, erase};
use crate::privacy::phone_number::PhoneNumber;
use crate::storage::Role;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("person").required(true)))]
pub(super) struct EraseArgs {
    /// Erase everything about this call or chat
    #[arg(long, value_name = "ID", group = "person")]
    call: Option<String>,
    /// Erase everything about calls and chats with this number, in any spelling: +12025550143
    #[arg(long, value_name = "NUMBER", group = "person")]
    phone: Option<String>,
    /// Erase only data of the company with this slug
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only count, which is also what happens without --yes
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Erase the data; this cannot be undone
    #[arg(long)]
    yes: bool,
    /// Also write the receipt to this file; it does not name the person
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl EraseArgs {
    pub(super) async fn run(self) -> CliResult {
        if let Some(path) = self.receipt.as_ref().filter(|path| path.exists()) {
            return Err(CliError::Message(format!(
                "--receipt {}: the file exists already; name another file for the receipt",
                path.display()
            )));
        }
        let subject = match (self.call, self.phone) {
            (_, Some(number)) => ErasureSubject::Phone(parse_number(&number)?),
            (Some(id), None) => ErasureSubject::Call(id),
            (None, None) => return Err(CliError::Message("give --call ID or --phone NUMBER".to_owned())),
        };
        let settings = context::load_settings()?;
        let store = context::open_store_of(&settings, Role::Operator)?;
        let request = ErasureRequest { subject, company: self.company, dry_run: !self.yes };
        let clock = Clock::system();
        let mut progress = draw_progress();
        let receipt = erase(&*store, &settings, &clock, context::PRINCIPAL, &request, &mut progress).await?;
        drop(progress);
        receipt::write_to_file(&receipt, self.receipt.as_deref())?;
        if self.json { output::print_json(&receipt) } else { receipt::print_text(&receipt) }?;
        let is_success = if receipt.dry_run { receipt.found } else { receipt.complete };
        if is_success { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

fn parse_number(text: &str) -> Result<PhoneNumber, CliError> {
    text.parse().map_err(|error| CliError::Message(format!("--phone: {error}. Nothing was searched or erased")))
}
