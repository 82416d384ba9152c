//! `appointments list|show|cancel|export`.

mod display;
mod ics;

use clap::{Args, Subcommand};

use self::display::AppointmentDisplayArgs;
use super::context;
use super::output::{self, CliError, CliResult};
use crate::base::clock::Clock;
use crate::live::appointments::operator_event_builder;
use crate::storage::sqlite::OperatorStore;
use crate::storage::{Appointment, AppointmentFilter, AppointmentStore, BookingOutcome};

#[derive(Debug, Subcommand)]
pub(super) enum AppointmentsCommand {
    /// List appointments, the earliest first
    List(AppointmentsListArgs),
    /// Show one appointment
    Show(AppointmentsShowArgs),
    /// Cancel an appointment; handlers are told as when a caller does
    Cancel(AppointmentsCancelArgs),
    /// Print appointments for a calendar, with the names and phone numbers of those who come
    Export(AppointmentsExportArgs),
}

#[derive(Debug, Args)]
struct AppointmentFilterArgs {
    /// Only those of this company
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only those from this time on: 2026-11-21T10:00:00Z, 2026-11-21, or how long ago (2h, 1d); now, unless given
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only those before this time
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsListArgs {
    #[command(flatten)]
    filter: AppointmentFilterArgs,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Without those that are cancelled
    #[arg(long)]
    booked: bool,
    #[command(flatten)]
    display: AppointmentDisplayArgs,
}

#[derive(Debug, Args)]
struct AppointmentRefArgs {
    /// Its confirmation number
    #[arg(value_name = "NUMBER")]
    confirmation: String,
    /// The company it belongs to
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsShowArgs {
    #[command(flatten)]
    appointment: AppointmentRefArgs,
    #[command(flatten)]
    display: AppointmentDisplayArgs,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsCancelArgs {
    #[command(flatten)]
    appointment: AppointmentRefArgs,
    #[command(flatten)]
    display: AppointmentDisplayArgs,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsExportArgs {
    /// As an iCalendar file (RFC 5545)
    #[arg(long, required = true)]
    ics: bool,
    #[command(flatten)]
    filter: AppointmentFilterArgs,
}

impl AppointmentsCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.display.print_appointment(&show.appointment.find_appointment().await?),
            Self::Cancel(cancel) => cancel.run().await,
            Self::Export(export) => export.run().await,
        }
    }
}

impl AppointmentFilterArgs {
    async fn list_appointments(self, limit: Option<usize>, booked_only: bool) -> Result<Vec<Appointment>, CliError> {
        let now_ms = Clock::system().now_ms();
        let time = |text: Option<String>| text.map(|text| output::parse_time(&text, now_ms)).transpose();
        let filter = AppointmentFilter {
            company: self.company,
            since_ms: Some(time(self.since).map_err(CliError::Message)?.unwrap_or(now_ms)),
            until_ms: time(self.until).map_err(CliError::Message)?,
            booked_only,
            limit,
            ..AppointmentFilter::default()
        };
        Ok(context::open_store()?.list_appointments(filter).await?)
    }
}

impl AppointmentsListArgs {
    async fn run(self) -> CliResult {
        let found = self.filter.list_appointments(Some(self.limit), self.booked).await?;
        self.display.print_list(&found)
    }
}

impl AppointmentRefArgs {
    async fn find_appointment(&self) -> Result<Appointment, CliError> {
        let said = self.confirmation.to_uppercase();
        let filter = AppointmentFilter {
            confirmation: Some(said.chars().filter(char::is_ascii_alphanumeric).collect()),
            company: self.company.clone(),
            limit: Some(2),
            ..AppointmentFilter::default()
        };
        let mut found = context::open_store()?.list_appointments(filter).await?;
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => {
                Err(CliError::Message("several companies have an appointment of that number: add --company".into()))
            }
            (None, _) => Err(CliError::Message(
                "there is no appointment of that number; `retell-webhook appointments list` prints those to come"
                    .into(),
            )),
        }
    }
}

impl AppointmentsCancelArgs {
    async fn run(self) -> CliResult {
        let found = self.appointment.find_appointment().await?;
        let mut beside = OperatorStore::open(&context::sqlite_url()?)?;
        match beside.cancel_appointment(
            found.company_id,
            found.id,
            Clock::system().now_ms(),
            &operator_event_builder(),
        )? {
            BookingOutcome::Done(_, cancelled) => self.display.print_appointment(&cancelled),
            _ => Err(CliError::Message("the appointment is not there any more".into())),
        }
    }
}

impl AppointmentsExportArgs {
    async fn run(self) -> CliResult {
        let found = self.filter.list_appointments(None, false).await?;
        eprintln!("retell-webhook: {} appointments, with names and phone numbers", found.len());
        output::ignore_broken_pipe(std::io::Write::write_all(
            &mut std::io::stdout().lock(),
            ics::format_calendar(&found).as_bytes(),
        ))
    }
}
