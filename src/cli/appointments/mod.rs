//! `appointments list|show|cancel|export`.

mod ics;
mod record;

use clap::{Args, Subcommand};

use self::record::Form;
use super::output::{self, Done, Failure};
use super::stores;
use crate::answers::appointments::announce_by_hand;
use crate::base::clock::Clock;
use crate::storage::sqlite::Beside;
use crate::storage::{Appointment, AppointmentFilter, AppointmentStore, Arranged};

#[derive(Debug, Subcommand)]
pub(super) enum Appointments {
    /// List appointments, the earliest first
    List(List),
    /// Show one appointment
    Show(Show),
    /// Cancel an appointment; handlers are told as when a caller does
    Cancel(Cancel),
    /// Print appointments for a calendar, with the names and phone numbers of those who come
    Export(Export),
}

#[derive(Debug, Args)]
struct Which {
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
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Without those that are cancelled
    #[arg(long)]
    booked: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct One {
    /// Its confirmation number
    #[arg(value_name = "NUMBER")]
    confirmation: String,
    /// The company it belongs to
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// As an iCalendar file (RFC 5545)
    #[arg(long, required = true)]
    ics: bool,
    #[command(flatten)]
    which: Which,
}

impl Appointments {
    pub(super) async fn run(self) -> Done {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.form.show(&show.one.find().await?),
            Self::Cancel(cancel) => cancel.run().await,
            Self::Export(export) => export.run().await,
        }
    }
}

impl Which {
    async fn find(self, limit: Option<usize>, booked_only: bool) -> Result<Vec<Appointment>, Failure> {
        let now_ms = Clock::system().now_ms();
        let time = |text: Option<String>| text.map(|text| output::parse_since(&text, now_ms)).transpose();
        let filter = AppointmentFilter {
            company: self.company,
            since_ms: Some(time(self.since).map_err(Failure::Because)?.unwrap_or(now_ms)),
            until_ms: time(self.until).map_err(Failure::Because)?,
            booked_only,
            limit,
            ..AppointmentFilter::default()
        };
        Ok(stores::open()?.appointments(filter).await?)
    }
}

impl List {
    async fn run(self) -> Done {
        let found = self.which.find(Some(self.limit), self.booked).await?;
        self.form.list(&found)
    }
}

impl One {
    async fn find(&self) -> Result<Appointment, Failure> {
        let said = self.confirmation.to_uppercase();
        let filter = AppointmentFilter {
            confirmation: Some(said.chars().filter(char::is_ascii_alphanumeric).collect()),
            company: self.company.clone(),
            limit: Some(2),
            ..AppointmentFilter::default()
        };
        let mut found = stores::open()?.appointments(filter).await?;
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => {
                Err(Failure::Because("several companies have an appointment of that number: add --company".into()))
            }
            (None, _) => Err(Failure::Because(
                "there is no appointment of that number; `retell-webhook appointments list` prints those to come"
                    .into(),
            )),
        }
    }
}

impl Cancel {
    async fn run(self) -> Done {
        let found = self.one.find().await?;
        let mut beside = Beside::open(&stores::sqlite_url()?)?;
        match beside.cancel_appointment(found.company_id, found.id, Clock::system().now_ms(), &announce_by_hand())? {
            Arranged::Done(_, cancelled) => self.form.show(&cancelled),
            _ => Err(Failure::Because("the appointment is not there any more".into())),
        }
    }
}

impl Export {
    async fn run(self) -> Done {
        let found = self.which.find(None, false).await?;
        eprintln!("retell-webhook: {} appointments, with names and phone numbers", found.len());
        output::ignore_closed(std::io::Write::write_all(
            &mut std::io::stdout().lock(),
            ics::calendar(&found).as_bytes(),
        ))
    }
}
