//! Checks whether requests can reach this receiver, and whether the clock is right enough for their signatures.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use jiff::fmt::rfc2822;

use crate::base::clock::Clock;
use crate::base::open_files;
use crate::config::{FieldError, Settings};
use crate::egress;
use crate::operations::OperationError;
use crate::operations::receiver::{ReceiverProbe, check_local_health, connectable_url, probe_receiver};
use crate::privacy::redact;
use crate::view::DoctorFinding;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Clock skew that is worth fixing although signatures are still accepted.
const CLOCK_SKEW_WARNING_S: i64 = 30;

/// Checks that the port is free or used by a receiver; returns the instance id of that receiver as well.
pub(super) async fn check_port(
    settings: &Settings,
    local: &str,
) -> Result<(DoctorFinding, Option<String>), OperationError> {
    const CHECK: &str = "port";
    let address = SocketAddr::new(settings.server.host, settings.server.port);
    if address.port() == 0 {
        return Ok((DoctorFinding::ok(CHECK, "0: a free port is chosen at startup"), None));
    }
    if let ReceiverProbe::Receiver(instance) = probe_receiver(local).await? {
        return Ok((DoctorFinding::ok(CHECK, format!("a receiver responds at {local}")), Some(instance)));
    }
    Ok((
        match TcpListener::bind(address) {
            Ok(_) => DoctorFinding::ok(CHECK, format!("{address} is free; no receiver is running")),
            Err(error) => DoctorFinding::problem(
                CHECK,
                format!(
                    "cannot listen on {address}: {error}; stop the program that uses the port, or \
                     set PORT to a free port"
                ),
            ),
        },
        None,
    ))
}

/// Checks that the operator listener can be reached, or that its address is free. `is_running` says whether a receiver
/// responds at the main address.
pub(super) async fn check_ops_listener(settings: &Settings, is_running: bool) -> Result<DoctorFinding, OperationError> {
    const CHECK: &str = "ops.listen";
    let Some(address) = settings.ops.listen else {
        return Ok(DoctorFinding::ok(CHECK, "off: metrics are served at the main address, with ops.token only"));
    };
    let taken = format!(
        "{address} is used by another program, so this receiver serves no metrics there; set ops.listen to a free address"
    );
    if is_running && address.port() != 0 {
        let has_details = check_local_health(settings).await?.response.is_some_and(|body| body.get("checks").is_some());
        return Ok(if has_details {
            DoctorFinding::ok(CHECK, format!("the receiver responds at {}", connectable_url(address)))
        } else {
            DoctorFinding::warning(CHECK, taken)
        });
    }
    Ok(match TcpListener::bind(address) {
        Ok(_) => DoctorFinding::ok(CHECK, format!("{address} is free")),
        Err(error) => DoctorFinding::warning(CHECK, format!("{taken} ({error})")),
    })
}

/// Checks how many connections the limit on open files leaves room for.
pub(super) fn check_open_files() -> DoctorFinding {
    const CHECK: &str = "open files";
    let limit = open_files::hard_limit();
    let connections = open_files::max_connections(limit);
    match limit {
        Some(limit) if limit < open_files::LOW_LIMIT => DoctorFinding::warning(
            CHECK,
            format!(
                "at most {limit}, which leaves room for {connections} connections; raise the hard limit to {} \
                 (LimitNOFILE of systemd, --ulimit nofile of a container)",
                open_files::NEEDED_FILES
            ),
        ),
        _ => DoctorFinding::ok(CHECK, format!("the limit leaves room for {connections} connections")),
    }
}

/// Checks that `server.url` leads to the receiver with the id `instance`. `wrong_port` is the warning
/// that nothing listens on the port of the URL.
pub(super) async fn check_public_url(
    settings: &Settings,
    instance: Option<&str>,
    wrong_port: Option<FieldError>,
) -> Result<DoctorFinding, OperationError> {
    const CHECK: &str = "server.url";
    let port = settings.server.port;
    let Some(url) = settings.server.url.as_ref().map(ToString::to_string) else {
        let text =
            "not set: Retell cannot reach localhost; open a tunnel to the port and set SERVER_URL to its https URL";
        return Ok(DoctorFinding::warning(CHECK, text));
    };
    if let Some(warning) = wrong_port {
        return Ok(DoctorFinding::problem(CHECK, warning.to_string()));
    }
    Ok(public_url_finding(&redact::url(&url), port, &probe_receiver(&url).await?, instance))
}

/// Judges the probe of the public URL. `instance` is the id of the receiver on this machine's port, if there is one;
/// only with it can a failure be called a problem, since the probe may simply find no receiver started yet.
fn public_url_finding(url: &str, port: u16, probe: &ReceiverProbe, instance: Option<&str>) -> DoctorFinding {
    const CHECK: &str = "server.url";
    match (probe, instance) {
        (ReceiverProbe::NoResponse(error), None) => {
            DoctorFinding::warning(CHECK, format!("{url}: {error}; start the receiver, then check again"))
        }
        (ReceiverProbe::NoResponse(error), Some(_)) => DoctorFinding::problem(
            CHECK,
            format!("{url}: {error}; restart the tunnel or proxy, or set SERVER_URL to its new URL"),
        ),
        (ReceiverProbe::OtherServer(status), None) => DoctorFinding::warning(
            CHECK,
            format!(
                "{url}: status {status} from a server that is not a receiver; start the receiver, then check again"
            ),
        ),
        (ReceiverProbe::OtherServer(status), Some(_)) => DoctorFinding::problem(
            CHECK,
            format!(
                "{url}: status {status} from a server that is not a receiver; point the tunnel or proxy at port \
                 {port}, with the path unchanged"
            ),
        ),
        (ReceiverProbe::Receiver(_), None) => DoctorFinding::warning(
            CHECK,
            format!(
                "{url}: a receiver responds, but none on port {port} of this machine; make this check where it listens"
            ),
        ),
        (ReceiverProbe::Receiver(there), Some(here)) if there == here => {
            DoctorFinding::ok(CHECK, format!("{url} leads to this receiver"))
        }
        (ReceiverProbe::Receiver(_), Some(_)) => DoctorFinding::problem(
            CHECK,
            format!(
                "{url} leads to another receiver; stop that one, or point the tunnel at port {port} of this machine"
            ),
        ),
    }
}

/// Compares this machine's clock with the `Date` header of a response from `url`.
pub(super) async fn check_clock(url: &str, clock: &Clock) -> Result<DoctorFinding, OperationError> {
    const CHECK: &str = "clock";
    let response = egress::build_client(REQUEST_TIMEOUT)?.head(url).send().await;
    let now_ms = clock.now_ms();
    let date = response.ok().and_then(|response| response.headers().get("date")?.to_str().ok().map(str::to_owned));
    let Some(ahead_s) = date.and_then(|date| clock_ahead_s(&date, now_ms)) else {
        return Ok(DoctorFinding::warning(
            CHECK,
            format!("no response with a date from {url}; check the internet connection of this machine"),
        ));
    };
    Ok(clock_skew_finding(ahead_s))
}

/// Seconds by which this machine's clock is ahead of the `Date` header; `None` when the header cannot be parsed.
fn clock_ahead_s(date: &str, now_ms: i64) -> Option<i64> {
    Some(now_ms / 1000 - rfc2822::parse(date).ok()?.timestamp().as_second())
}

fn clock_skew_finding(ahead_s: i64) -> DoctorFinding {
    const CHECK: &str = "clock";
    let direction = if ahead_s < 0 { "behind" } else { "ahead of" };
    let text = format!("{} s {direction} Retell's clock", ahead_s.abs());
    match ahead_s.abs() {
        // The default of security.signature_tolerance_ms. With a larger tolerance the clock is still wrong.
        300.. => DoctorFinding::problem(
            CHECK,
            format!("{text}: every request is rejected as stale; synchronize the clock with NTP"),
        ),
        CLOCK_SKEW_WARNING_S..300 => DoctorFinding::warning(
            CHECK,
            format!("{text}: requests are rejected beyond 300 s; synchronize the clock with NTP"),
        ),
        _ => DoctorFinding::ok(CHECK, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::FindingLevel;

    #[test]
    fn clock_skew_is_parsed_from_a_date_header() {
        let date = "Sat, 21 Nov 2026 10:00:00 GMT";
        assert_eq!(clock_ahead_s(date, 1_795_255_200_999), Some(0));
        assert_eq!(clock_ahead_s(date, 1_795_255_200_000 - 400_000), Some(-400));
        assert_eq!(clock_ahead_s("yesterday", 0), None);
        let levels = [0, -29, 30, -299, 300, -4_000].map(|ahead_s| clock_skew_finding(ahead_s).level);
        assert_eq!(levels[..2], [FindingLevel::Ok; 2]);
        assert_eq!(levels[2..4], [FindingLevel::Warning; 2]);
        assert_eq!(levels[4..], [FindingLevel::Problem; 2]);
        assert!(clock_skew_finding(-400).text.starts_with("400 s behind"));
    }

    #[test]
    fn a_public_url_must_lead_to_this_receiver() {
        let level = |probe: ReceiverProbe, instance| {
            public_url_finding("https://example.ngrok.app", 8000, &probe, instance).level
        };
        let receiver = |instance: &str| ReceiverProbe::Receiver(instance.to_owned());
        let no_response = || ReceiverProbe::NoResponse("no connection");
        assert_eq!(level(receiver("a"), Some("a")), FindingLevel::Ok);
        assert_eq!(level(receiver("b"), Some("a")), FindingLevel::Problem);
        assert_eq!(level(ReceiverProbe::OtherServer(404), Some("a")), FindingLevel::Problem);
        assert_eq!(level(no_response(), Some("a")), FindingLevel::Problem);
        for probe in [receiver("b"), ReceiverProbe::OtherServer(502), no_response()] {
            assert_eq!(level(probe, None), FindingLevel::Warning, "nothing to compare with");
        }
    }
}
