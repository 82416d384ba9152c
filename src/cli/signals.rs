//! What asks the program to stop.

use std::io;

/// Until Ctrl-C or SIGTERM. From the call on, not only from the first poll, SIGTERM ends nothing by itself.
///
/// # Errors
/// SIGTERM cannot be caught.
pub(super) fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
    })
}
