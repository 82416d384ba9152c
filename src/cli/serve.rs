//! `serve`: the receiver itself.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use tokio::net::TcpListener;

use super::context;
use super::output::{CliError, CliResult, print_line};
use crate::app::{self, Receiver, ReloadHandle, shutdown_signal};
use crate::base::open_files;
use crate::base::supervise::Supervisor;
use crate::config::{LogFormat, Settings};
use crate::handlers::RegisteredHandler;
use crate::live::{TEST_PATH, WEBHOOK_PATH};
use crate::operations::OperationError;
use crate::operations::config::{check_settings, startup_warnings};
use crate::privacy::redact;
use crate::telemetry::logging;

/// Options that override settings of every other layer.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServeArgs {
    /// TCP port to listen on instead of server.port; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// IP address to listen on instead of server.host
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
}

impl ServeArgs {
    pub(super) async fn run(self) -> CliResult {
        serve(self).await
    }

    fn load_settings(&self) -> Result<Settings, OperationError> {
        let mut sources = context::config_sources()?;
        let options = [
            ("server.port", self.port.map(|port| port.to_string())),
            ("server.host", self.host.map(|host| host.to_string())),
        ];
        sources.command_line.extend(options.into_iter().filter_map(|(key, value)| Some((key, value?))));
        check_settings(&sources)
    }
}

async fn serve(args: ServeArgs) -> CliResult {
    let settings = args.load_settings()?;
    let log = logging::init(&settings.log).map_err(CliError::Message)?;
    open_files::raise_limit();
    warn_low_file_limit();
    let listener = bind_listener(&settings)?;
    let (ops_listener, metrics) = bind_ops_listener(&settings);
    let port = listener.local_addr()?.port();
    let receiver = Receiver::builder().settings(settings.clone()).listening_on(port).dropped_lines(log.dropped_lines());
    let receiver = receiver.build().await?;
    log.dropped_lines().spawn_warnings(receiver.supervisor());
    print_startup_summary(&settings, &receiver, port, metrics)?;
    receiver.stop_when(shutdown_signal()?);
    #[cfg(unix)]
    reload_on_sighup(receiver.supervisor().clone(), args, receiver.reload_handle())?;

    let supervisor = receiver.supervisor().clone();
    let serve_ops = async {
        match ops_listener {
            Some(listener) => {
                app::serve(listener, receiver.ops_router(), receiver.operator_connection_policy(), &supervisor).await
            }
            None => 0,
        }
    };
    let serve_main = app::serve(listener, receiver.router(), receiver.connection_policy(), &supervisor);
    let (cut_off, ops_cut_off) = tokio::join!(serve_main, serve_ops);
    tracing::info!(counts = ?receiver.counters().snapshot(), "shutting down");
    let result = receiver.finish(cut_off + ops_cut_off).await;
    // The log's writer thread is flushed after the last component has logged, and before the error is printed.
    drop(log);
    Ok(result?)
}

/// Below the usual soft limit there is room for few connections.
fn warn_low_file_limit() {
    let limit = open_files::limit();
    if limit.is_some_and(|limit| limit < open_files::LOW_LIMIT) {
        tracing::warn!(limit, connections = open_files::max_connections(limit), "open file limit low");
    }
}

/// The listener of `ops.listen`, and the text of the summary about it. An address that is in use is only a warning: a
/// second receiver on the same machine must start.
fn bind_ops_listener(settings: &Settings) -> (Option<TcpListener>, String) {
    let Some(address) = settings.ops.listen else {
        return (None, "not served at a separate address (ops.listen = \"off\")".to_owned());
    };
    let bound = app::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    match bound {
        Ok((address, listener)) => (Some(listener), format!("http://{address}/metrics")),
        Err(error) => {
            tracing::warn!(%address, %error, setting = "ops.listen", "operator listener unavailable");
            (None, format!("not served: cannot listen on {address} ({error}); set ops.listen to a free address"))
        }
    }
}

fn bind_listener(settings: &Settings) -> Result<TcpListener, CliError> {
    let address = SocketAddr::new(settings.server.host, settings.server.port);
    app::bind(address).map_err(|error| {
        CliError::Message(format!(
            "cannot listen on {address}: {error}; stop the process that uses the port, or choose a free one with --port or PORT"
        ))
    })
}

/// Prints or logs the webhook URL for Retell's dashboard, what runs where, and warnings about the settings.
fn print_startup_summary(settings: &Settings, receiver: &Receiver, port: u16, metrics: String) -> CliResult {
    let url = redact::url(&settings.server.public_url(port));
    let name = |registered: &RegisteredHandler| {
        let mark = if registered.enabled { "" } else { " (disabled)" };
        format!("{}{mark}", registered.name)
    };
    let handlers: Vec<_> = receiver.handlers().iter().map(name).collect();
    let handlers = if handlers.is_empty() { "none".to_owned() } else { handlers.join(", ") };
    let main = SocketAddr::new(settings.server.host, port);
    let facts = [
        ("webhook", format!("{url}{WEBHOOK_PATH}")),
        ("test", format!("{url}{TEST_PATH}")),
        ("companies", format_company_slugs(settings)),
        ("listening", main.to_string()),
        ("metrics", metrics),
        ("storage", settings.storage.url.location()),
        ("handlers", handlers),
    ];
    let warnings: Vec<String> = startup_warnings(settings, port).iter().map(ToString::to_string).collect();
    if settings.log.format == LogFormat::Human {
        print_summary(&facts, &next_step(settings, port))?;
    }
    log_start(settings, &facts, &warnings);
    Ok(())
}

fn print_summary(facts: &[(&str, String)], next_step: &str) -> CliResult {
    print_line(format!("retell-webhook {}\n", env!("CARGO_PKG_VERSION")))?;
    for (name, fact) in facts {
        print_line(format!("  {name:<10} {fact}"))?;
    }
    print_line(format!("\n  {next_step}\n"))
}

/// What to do with the webhook URL. Only `server.url` is trusted to be public: the host of a request can be forged.
fn next_step(settings: &Settings, port: u16) -> String {
    let advice = if settings.server.is_local() {
        format!(
            "Retell cannot reach this address. Start a tunnel, such as `ngrok http {port}`, set SERVER_URL to the https \
             address\n  that it prints, and restart."
        )
    } else {
        "Enter the webhook URL in Retell's dashboard, for the account or an agent.".to_owned()
    };
    format!("{advice} A signed test event: retell-webhook send call_ended")
}

/// The log file has the start too: in the human format the summary is printed on standard output only.
fn log_start(settings: &Settings, facts: &[(&str, String)], warnings: &[String]) {
    let fact = |wanted: &str| facts.iter().find(|(name, _)| *name == wanted).map(|(_, fact)| fact.as_str());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = fact("listening"),
        handlers = fact("handlers"),
        warnings = warnings.len(),
        "receiver started"
    );
    if settings.log.format == LogFormat::Json {
        for (name, fact) in facts {
            tracing::info!("{name}: {fact}");
        }
    }
    for text in warnings {
        tracing::warn!(text, "startup warning");
    }
}

/// Each company's webhook URL is the default one with its slug appended.
fn format_company_slugs(settings: &Settings) -> String {
    let slugs: Vec<_> = settings.companies.iter().map(|company| company.slug.to_string()).collect();
    if slugs.is_empty() { "default".to_owned() } else { format!("{} (…/<company>)", slugs.join(", ")) }
}

/// SIGHUP reads companies, keys, handlers, functions and inbound rules again.
#[cfg(unix)]
fn reload_on_sighup(supervisor: Supervisor, args: ServeArgs, reload: ReloadHandle) -> CliResult {
    let mut hang_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    supervisor.clone().spawn_detached(async move {
        loop {
            tokio::select! {
                () = supervisor.wait_for_stop() => break,
                _ = hang_up.recv() => reload_settings(&args, &reload).await,
            }
        }
    });
    Ok(())
}

/// Settings that cannot be read or applied change nothing; the log states why.
#[cfg(unix)]
async fn reload_settings(args: &ServeArgs, reload: &ReloadHandle) {
    let settings = match args.load_settings() {
        Ok(settings) => settings,
        Err(error) => return tracing::error!(%error, "settings reload failed, nothing was changed"),
    };
    let companies = format_company_slugs(&settings);
    let handlers: Vec<_> = settings.handlers.iter().filter(|table| table.enabled).map(|table| &table.name).collect();
    let handlers = format!("{handlers:?}");
    match reload.apply(settings).await {
        Ok(restart) => {
            tracing::info!(companies, handlers, "settings reloaded");
            if !restart.is_empty() {
                tracing::warn!(keys = restart.join(", "), "changed settings need a restart");
            }
        }
        Err(error) => tracing::error!(%error, "settings reload failed, nothing was changed"),
    }
}
