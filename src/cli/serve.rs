//! `serve`: the receiver itself.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::output::{CliError, CliResult, print_line};
use super::{context, signals};
use crate::app::{self, Receiver, ReloadHandle};
use crate::base::supervise::Supervisor;
use crate::config::{ConfigSources, HandlerSettings, LogFormat, Settings};
use crate::event::EventKind;
use crate::handlers::{Filter, RegisteredHandler};
use crate::intake::{INTERNAL_EVENT_NAMES, TEST_PATH, WEBHOOK_PATH};
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::logging;

pub(super) async fn run() -> CliResult {
    let settings = context::load_settings()?;
    let log = logging::init(&settings.log).map_err(CliError::Message)?;
    let listener = bind_listener(&settings).await?;
    let ops_listener = bind_ops_listener(&settings).await?;
    let port = listener.local_addr()?.port();
    let receiver = Receiver::builder().settings(settings.clone()).listening_on(port).dropped_lines(log.dropped_lines());
    let receiver = receiver.build().await?;
    log.dropped_lines().spawn_warnings(receiver.supervisor());
    report_startup(&settings, &receiver, port, ops_address(ops_listener.as_ref()))?;
    stop_on_signal(&receiver)?;
    let supervisor = receiver.supervisor().clone();
    let operators = async {
        match ops_listener {
            Some(listener) => app::serve(listener, receiver.ops_router(), &supervisor).await,
            None => 0,
        }
    };
    let (cut_off, operators_cut_off) =
        tokio::join!(app::serve(listener, receiver.standalone(), &supervisor), operators);
    let cut_off = cut_off + operators_cut_off;
    tracing::info!(counts = ?receiver.counters().snapshot(), "stopping: finishing what was accepted");
    let closed = receiver.shutdown().await;
    drop(log);
    if supervisor.has_failed() {
        return Err(CliError::Message(
            "a part of the service died, see the log above; everything acknowledged is on disk".into(),
        ));
    }
    if cut_off > 0 {
        return Err(CliError::Message(format!("{cut_off} connections were cut off; none of them was acknowledged")));
    }
    Ok(closed?)
}

/// The listener that `ops.listen` asks for.
async fn bind_ops_listener(settings: &Settings) -> Result<Option<TcpListener>, CliError> {
    let Some(address) = settings.ops.listen else { return Ok(None) };
    let refused = |error| {
        CliError::Message(format!(
            "cannot listen on {address} (ops.listen): {error}; stop whatever uses the port, or choose another"
        ))
    };
    TcpListener::bind(address).await.map(Some).map_err(refused)
}

fn ops_address(listener: Option<&TcpListener>) -> Option<SocketAddr> {
    listener.and_then(|listener| listener.local_addr().ok())
}

async fn bind_listener(settings: &Settings) -> Result<TcpListener, CliError> {
    let address = SocketAddr::new(settings.server.host, settings.server.port);
    TcpListener::bind(address).await.map_err(|error| {
        CliError::Message(format!(
            "cannot listen on {address}: {error}; stop whatever uses the port, or set PORT to a free one"
        ))
    })
}

/// Tells what to paste into Retell's dashboard, and whatever should be put right.
fn report_startup(settings: &Settings, receiver: &Receiver, port: u16, ops: Option<SocketAddr>) -> CliResult {
    let url = settings.server.public_url(port);
    let store = SqliteUrl::parse(&settings.storage.url)?;
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
        ("metrics", metrics_url(main, ops)),
        ("storage", store.path().display().to_string()),
        ("handlers", handlers),
    ];
    let mut warnings = settings.warnings(port);
    warnings.extend(unknown_event_warnings(settings));
    if settings.log.format == LogFormat::Json {
        for (name, fact) in &facts {
            tracing::info!("{name}: {fact}");
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        return Ok(());
    }
    print_line(format!("retell-webhook {}\n", env!("CARGO_PKG_VERSION")))?;
    for (name, fact) in &facts {
        print_line(format!("  {name:<10} {fact}"))?;
    }
    for warning in &warnings {
        print_line(format!("\n  WARNING: {warning}"))?;
    }
    print_line("\n  Paste the webhook URL into Retell's dashboard; try it with: retell-webhook send call_ended\n")
}

/// Their own URLs are the webhook's with the slug behind it.
fn format_company_slugs(settings: &Settings) -> String {
    let slugs: Vec<_> = settings.companies.iter().map(|company| company.slug.as_str()).collect();
    if slugs.is_empty() { "only the default one".to_owned() } else { format!("{} (…/<company>)", slugs.join(", ")) }
}

/// Whoever looks without a token must ask for this machine by a name of its own.
fn metrics_url(main: SocketAddr, ops: Option<SocketAddr>) -> String {
    match ops {
        Some(address) => format!("http://{address}/metrics"),
        None if main.ip().is_unspecified() => format!("http://localhost:{}/metrics", main.port()),
        None => format!("http://{main}/metrics"),
    }
}

/// A filter on a name that Retell does not send is more likely a slip than foresight.
fn unknown_event_warnings(settings: &Settings) -> Vec<String> {
    let unknown = |name: &&String| {
        !EventKind::ALL
            .iter()
            .map(|kind| kind.as_str())
            .chain(INTERNAL_EVENT_NAMES)
            .any(|known| Filter::name_matches(name, known))
    };
    let of = |handler: &HandlerSettings| {
        let names: Vec<_> = handler.events.iter().filter(unknown).cloned().collect();
        (!names.is_empty())
            .then(|| format!("handler `{}` waits for events nobody sends today: {}", handler.name, names.join(", ")))
    };
    settings.handlers.iter().filter_map(of).collect()
}

/// SIGTERM and Ctrl-C stop in order; SIGHUP reads companies, keys and handlers again.
fn stop_on_signal(receiver: &Receiver) -> CliResult {
    let supervisor = receiver.supervisor().clone();
    let stop = signals::shutdown_signal()?;
    #[cfg(unix)]
    reload_on_sighup(supervisor.clone(), receiver.reload_handle())?;
    supervisor.clone().spawn_detached(async move {
        tokio::select! {
            () = stop => {}
            () = supervisor.wait_for_stop() => {}
        }
        supervisor.stop();
    });
    Ok(())
}

#[cfg(unix)]
fn reload_on_sighup(supervisor: Supervisor, reload: ReloadHandle) -> CliResult {
    let mut hang_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    supervisor.clone().spawn_detached(async move {
        loop {
            tokio::select! {
                () = supervisor.wait_for_stop() => break,
                _ = hang_up.recv() => reload_settings(&reload).await,
            }
        }
    });
    Ok(())
}

/// A bad file changes nothing and says why.
#[cfg(unix)]
async fn reload_settings(reload: &ReloadHandle) {
    let settings = match ConfigSources::from_process().and_then(|sources| Settings::load(&sources)) {
        Ok(settings) => settings,
        Err(error) => return tracing::error!("SIGHUP: nothing was changed: {error}"),
    };
    let companies = format_company_slugs(&settings);
    let handlers: Vec<_> = settings.handlers.iter().filter(|table| table.enabled).map(|table| &table.name).collect();
    let handlers = format!("{handlers:?}");
    match reload.apply(settings).await {
        Ok(restart) => {
            tracing::info!(companies, handlers, "SIGHUP: companies, keys, handlers and functions were read again");
            if !restart.is_empty() {
                tracing::warn!("these settings differ too and take a restart: {}", restart.join(", "));
            }
        }
        Err(error) => tracing::error!("SIGHUP: nothing was changed: {error}"),
    }
}
