//! Whether requests arrive here, and with a time that can be right.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use jiff::fmt::rfc2822;

use super::super::output::CliError;
use super::super::receiver_url::{ReceiverProbe, probe_receiver};
use super::DoctorFinding;
use crate::base::clock::Clock;
use crate::config::Settings;
use crate::egress;
use crate::security::redact;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Off by more than this, a clock is worth setting although signatures still pass.
const CLOCK_SKEW_WARNING_S: i64 = 30;

/// The port is held by a receiver, whose process is named then, or free.
pub(super) async fn check_port(settings: &Settings, local: &str) -> Result<(DoctorFinding, Option<String>), CliError> {
    const CHECK: &str = "port";
    let address = SocketAddr::new(settings.server.host, settings.server.port);
    if address.port() == 0 {
        return Ok((DoctorFinding::ok(CHECK, "0: a free one is taken at start"), None));
    }
    if let ReceiverProbe::Receiver(instance) = probe_receiver(local).await? {
        return Ok((DoctorFinding::ok(CHECK, format!("the receiver answers at {local}")), Some(instance)));
    }
    Ok((
        match TcpListener::bind(address) {
            Ok(_) => DoctorFinding::ok(CHECK, format!("{address} is free; no receiver runs")),
            Err(error) => DoctorFinding::problem(
                CHECK,
                format!("cannot listen on {address}: {error}; stop whatever uses the port, or set PORT to a free one"),
            ),
        },
        None,
    ))
}

/// Whether `server.url` ends at the process that `instance` names.
pub(super) async fn check_public_url(settings: &Settings, instance: Option<&str>) -> Result<DoctorFinding, CliError> {
    const CHECK: &str = "server.url";
    let port = settings.server.port;
    let Some(url) = &settings.server.url else {
        let text =
            "not set: Retell cannot reach localhost; open a tunnel to the port and set SERVER_URL to its https address";
        return Ok(DoctorFinding::warning(CHECK, text));
    };
    if let Some(named) = settings.server.mismatched_url_port(port).filter(|_| port != 0) {
        let text = format!(
            "it names port {named} but the receiver listens on {port}: set SERVER_URL=http://localhost:{port}, or PORT={named}"
        );
        return Ok(DoctorFinding::problem(CHECK, text));
    }
    Ok(public_url_finding(&redact::url(url), port, &probe_receiver(url).await?, instance))
}

/// What it means when `shown` gives this answer while this process, or none, listens on the port here.
fn public_url_finding(shown: &str, port: u16, answer: &ReceiverProbe, instance: Option<&str>) -> DoctorFinding {
    const CHECK: &str = "server.url";
    match (answer, instance) {
        (ReceiverProbe::NoResponse(why), None) => {
            DoctorFinding::warning(CHECK, format!("{shown}: {why}; start the receiver, then run this again"))
        }
        (ReceiverProbe::NoResponse(why), Some(_)) => DoctorFinding::problem(
            CHECK,
            format!("{shown}: {why}; start the tunnel or proxy again, or set SERVER_URL to its new address"),
        ),
        (ReceiverProbe::OtherServer(status), None) => DoctorFinding::warning(
            CHECK,
            format!("{shown}: {status}, not from a receiver; start it, then run this again"),
        ),
        (ReceiverProbe::OtherServer(status), Some(_)) => DoctorFinding::problem(
            CHECK,
            format!(
                "{shown}: {status}, not from a receiver; point the tunnel or proxy at port {port}, with the path unchanged"
            ),
        ),
        (ReceiverProbe::Receiver(_), None) => DoctorFinding::warning(
            CHECK,
            format!(
                "{shown}: a receiver answers, but none does on this machine's port {port}; run this where it listens"
            ),
        ),
        (ReceiverProbe::Receiver(there), Some(here)) if there == here => {
            DoctorFinding::ok(CHECK, format!("{shown} ends at this very receiver"))
        }
        (ReceiverProbe::Receiver(_), Some(_)) => DoctorFinding::problem(
            CHECK,
            format!(
                "{shown} ends at another receiver; stop that one, or point the tunnel at this machine's port {port}"
            ),
        ),
    }
}

/// How far this machine's clock is from that of the host at `url`.
pub(super) async fn check_clock(url: &str) -> Result<DoctorFinding, CliError> {
    const CHECK: &str = "clock";
    let response = egress::build_client(REQUEST_TIMEOUT)?.head(url).send().await;
    let now_ms = Clock::system().now_ms();
    let date = response.ok().and_then(|response| response.headers().get("date")?.to_str().ok().map(str::to_owned));
    let Some(ahead_s) = date.and_then(|date| clock_ahead_s(&date, now_ms)) else {
        return Ok(DoctorFinding::warning(
            CHECK,
            format!("{url} did not say what time it is; is there a way to the internet?"),
        ));
    };
    Ok(clock_skew_finding(ahead_s))
}

/// Seconds this machine's clock is ahead of the `Date` header.
fn clock_ahead_s(date: &str, now_ms: i64) -> Option<i64> {
    Some(now_ms / 1000 - rfc2822::parse(date).ok()?.timestamp().as_second())
}

fn clock_skew_finding(ahead_s: i64) -> DoctorFinding {
    const CHECK: &str = "clock";
    let side = if ahead_s < 0 { "behind" } else { "ahead of" };
    let text = format!("{} s {side} Retell's", ahead_s.abs());
    match ahead_s.abs() {
        // The window of security.signature_tolerance_ms has its default here: whoever widens it still wants to know.
        300.. => {
            DoctorFinding::problem(CHECK, format!("{text}: every call is refused as stale; let NTP set the clock"))
        }
        CLOCK_SKEW_WARNING_S..300 => {
            DoctorFinding::warning(CHECK, format!("{text}: calls are refused beyond 300 s; let NTP set the clock"))
        }
        _ => DoctorFinding::ok(CHECK, text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::FindingLevel;
    use super::*;

    #[test]
    fn skew_is_read_from_a_date_header() {
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
    fn a_public_url_must_end_at_this_process() {
        let level =
            |answer: ReceiverProbe, here| public_url_finding("https://example.ngrok.app", 8000, &answer, here).level;
        let receiver = |instance: &str| ReceiverProbe::Receiver(instance.to_owned());
        let away = || ReceiverProbe::NoResponse("no connection");
        assert_eq!(level(receiver("a"), Some("a")), FindingLevel::Ok);
        assert_eq!(level(receiver("b"), Some("a")), FindingLevel::Problem);
        assert_eq!(level(ReceiverProbe::OtherServer(404), Some("a")), FindingLevel::Problem);
        assert_eq!(level(away(), Some("a")), FindingLevel::Problem);
        for answer in [receiver("b"), ReceiverProbe::OtherServer(502), away()] {
            assert_eq!(level(answer, None), FindingLevel::Warning, "nothing to compare with");
        }
    }
}
