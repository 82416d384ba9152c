//! `appointments list|show|cancel|export`.

mod display;
mod ics;

use std::io::Write;

use clap::{Args, Subcommand};

use self::display::AppointmentDisplayArgs;
use super::context;
use super::output::{self, CliError, CliResult};
use crate::base::clock::Clock;
use crate::live::appointments::operator_event_builder;
use crate::storage::{Appointment, AppointmentCancellation, AppointmentFilter, BookingContext, BookingOutcome, Role};

#[derive(Debug, Subcommand)]
pub(super) enum AppointmentsCommand {
    /// List appointments, the earliest one first
    List(AppointmentsListArgs),
    /// Show the data of one appointment
    Show(AppointmentsShowArgs),
    /// Cancel an appointment; handlers receive the same event as when a caller cancels
    Cancel(AppointmentsCancelArgs),
    /// Print appointments for a calendar, with names and phone numbers
    Export(AppointmentsExportArgs),
}

#[derive(Debug, Args)]
struct AppointmentFilterArgs {
    /// Only appointments of the company with this slug
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only appointments since this time: 2026-11-21T10:00:00Z, 2026-11-21, or 2h, 1d ago [default: now]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only appointments before this time, in the same forms
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsListArgs {
    #[command(flatten)]
    filter: AppointmentFilterArgs,
    /// Print at most N rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// List only booked appointments, not canceled ones
    #[arg(long)]
    booked: bool,
    #[command(flatten)]
    display: AppointmentDisplayArgs,
}

#[derive(Debug, Args)]
struct AppointmentRefArgs {
    /// Confirmation number of the appointment
    #[arg(value_name = "NUMBER")]
    confirmation: String,
    /// Slug of the company, needed when several companies have the number
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
    /// Print an iCalendar file (RFC 5545)
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
        let parse = |option: &str, text: Option<String>| {
            let time = text.map(|text| output::parse_time(&text, now_ms)).transpose();
            time.map_err(|error| CliError::Message(format!("{option}: {error}")))
        };
        let filter = AppointmentFilter {
            company: self.company,
            since_ms: Some(parse("--since", self.since)?.unwrap_or(now_ms)),
            until_ms: parse("--until", self.until)?,
            booked_only,
            limit,
            ..AppointmentFilter::default()
        };
        Ok(context::open_store()?.list_appointments(filter).await?)
    }
}

impl AppointmentsListArgs {
    async fn run(self) -> CliResult {
        let appointments = self.filter.list_appointments(Some(self.limit), self.booked).await?;
        self.display.print_list(&appointments)
    }
}

impl AppointmentRefArgs {
    async fn find_appointment(&self) -> Result<Appointment, CliError> {
        // Numbers are read aloud and typed with blanks or hyphens.
        let number = self.confirmation.to_uppercase();
        let filter = AppointmentFilter {
            confirmation: Some(number.chars().filter(char::is_ascii_alphanumeric).collect()),
            company: self.company.clone(),
            limit: Some(2),
            ..AppointmentFilter::default()
        };
        let mut matching = context::open_store()?.list_appointments(filter).await?;
        let Some(appointment) = matching.pop() else {
            return Err(CliError::Message(
                "no appointment has this number; `retell-webhook appointments list` prints the upcoming ones".into(),
            ));
        };
        if matching.is_empty() {
            Ok(appointment)
        } else {
            Err(CliError::Message("several companies have an appointment with this number: add --company SLUG".into()))
        }
    }
}

impl AppointmentsCancelArgs {
    async fn run(self) -> CliResult {
        let appointment = self.appointment.find_appointment().await?;
        let context = BookingContext {
            company_id: appointment.company_id,
            idempotency_key: None,
            now_ms: Clock::system().now_ms(),
            make_event: operator_event_builder(),
        };
        let cancellation = AppointmentCancellation { context, appointment_id: appointment.id };
        let outcome = context::open_store_as(Role::Operator)?.cancel_appointment(cancellation).await?;
        match outcome {
            BookingOutcome::Done(_, cancelled) => self.display.print_appointment(&cancelled),
            _ => Err(CliError::Message("the appointment was deleted in the meantime".into())),
        }
    }
}

impl AppointmentsExportArgs {
    async fn run(self) -> CliResult {
        let appointments = self.filter.list_appointments(None, false).await?;
        eprintln!("retell-webhook: {} appointments, with names and phone numbers", appointments.len());
        let calendar = ics::format_calendar(&appointments);
        output::ignore_broken_pipe(std::io::stdout().lock().write_all(calendar.as_bytes()))
    }
}
