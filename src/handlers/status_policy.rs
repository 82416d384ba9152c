//! Maps HTTP responses to outcomes.

use std::fmt::Display;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

use super::{AttemptResult, DestinationHealth, Outcome};
use crate::egress::{RequestError, ResponseSummary};

/// The longest `Retry-After` that is honored; a longer one is cut to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// Statuses by which a destination that works refuses a single event. With any other one, such as 401, 404 or 503, it
/// would respond to the next event too.
const EVENT_REFUSED_STATUSES: [u16; 5] = [400, 409, 413, 415, 422];

/// Which status codes count as success and as permanent failure.
#[derive(Debug, Default)]
pub(super) struct StatusPolicy {
    /// Codes that count as success; empty: 200 to 299.
    pub(super) success_statuses: Vec<u16>,
    /// Codes of permanent failures, in addition to 410 and redirects.
    pub(super) fail_statuses: &'static [u16],
}

impl StatusPolicy {
    /// The result of posting to `destination`.
    ///
    /// Every other status is retried, 4xx as well: a 401 or 404 is most often a deployment or a key that is about to
    /// be fixed, and the retry schedule bounds the attempts. 410 is the destination's statement that it wants no more
    /// events, and a redirect that is not followed now would not be followed in the next attempt either.
    pub(super) fn attempt_result(
        &self,
        destination: &impl Display,
        posted: Result<ResponseSummary, RequestError>,
        now_ms: i64,
    ) -> AttemptResult {
        let response = match posted {
            Ok(response) => response,
            Err(RequestError::BlockedRedirect(why)) => {
                return AttemptResult { health: DestinationHealth::Down, ..Outcome::fail(why).into() };
            }
            Err(error @ (RequestError::Blocked(_) | RequestError::NoResponse(_))) => {
                return Outcome::retry(error.to_string()).into();
            }
        };
        let outcome = self.outcome_of_response(destination, &response, now_ms);
        let health = match &outcome {
            Outcome::Done => DestinationHealth::Up,
            _ if EVENT_REFUSED_STATUSES.contains(&response.status) => DestinationHealth::RefusedEvent,
            _ => DestinationHealth::Down,
        };
        let response_excerpt = Some(response.body_prefix).filter(|text| !text.is_empty());
        AttemptResult { health, status: Some(response.status.into()), response_excerpt, ..outcome.into() }
    }

    fn outcome_of_response(&self, destination: &impl Display, response: &ResponseSummary, now_ms: i64) -> Outcome {
        let status = response.status;
        let reason = format!("{destination} answered {status}");
        match status {
            _ if self.is_success(status) => Outcome::Done,
            300..=399 => Outcome::fail(match &response.redirect_origin {
                Some(to) => format!("{reason}, a redirect to {to} beyond `max_redirects`; set `url` to its target"),
                None => format!("{reason}, a redirect that does not keep the body; set `url` to its target"),
            }),
            410 => Outcome::fail(format!("{reason}: the destination wants no more events")),
            _ if self.fail_statuses.contains(&status) => Outcome::fail(reason),
            _ => {
                let after = response.retry_after.as_deref().and_then(|value| parse_retry_after(value, now_ms));
                Outcome::Retry { after, reason }
            }
        }
    }

    fn is_success(&self, status: u16) -> bool {
        if self.success_statuses.is_empty() {
            (200..300).contains(&status)
        } else {
            self.success_statuses.contains(&status)
        }
    }
}

/// Parses a `Retry-After` header: seconds, or an HTTP date. `None` for times in the past.
fn parse_retry_after(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = DateTimeParser::new().parse_timestamp(value).ok()?;
        Duration::from_millis(u64::try_from(until.as_millisecond() - now_ms).ok()?)
    };
    if wait.is_zero() { None } else { Some(wait.min(MAX_RETRY_AFTER)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT

    fn attempt(codes: &StatusPolicy, status: u16, retry_after: Option<&str>) -> Outcome {
        let response = ResponseSummary {
            status,
            retry_after: retry_after.map(str::to_owned),
            redirect_origin: (status == 302).then(|| "https://b.example".to_owned()),
            body_prefix: "said".to_owned(),
        };
        let attempt = codes.attempt_result(&"https://a.example", Ok(response), NOW_MS);
        assert_eq!((attempt.status, attempt.response_excerpt.as_deref()), (Some(status.into()), Some("said")));
        attempt.outcome
    }

    #[test]
    fn statuses_map_to_outcomes() {
        let usual = StatusPolicy::default();
        for status in [200, 202, 204, 299] {
            assert_eq!(attempt(&usual, status, None), Outcome::Done, "{status}");
        }
        for status in [400, 401, 404, 408, 413, 422, 425, 429, 500, 503, 599] {
            assert_eq!(attempt(&usual, status, None), Outcome::retry(format!("https://a.example answered {status}")));
        }
        for status in [302, 303, 304, 410] {
            assert!(matches!(attempt(&usual, status, None), Outcome::Fail { .. }), "{status}");
        }
        let own = StatusPolicy { success_statuses: vec![200, 409], fail_statuses: &[400] };
        assert_eq!(attempt(&own, 409, None), Outcome::Done);
        assert!(matches!(attempt(&own, 204, None), Outcome::Retry { .. }));
        assert!(matches!(attempt(&own, 400, None), Outcome::Fail { .. }));
    }

    #[test]
    fn only_statuses_that_refuse_the_event_leave_the_destination_up() {
        let health = |status, policy: &StatusPolicy| {
            let response = ResponseSummary { status, ..ResponseSummary::default() };
            policy.attempt_result(&"https://a.example", Ok(response), NOW_MS).health
        };
        let usual = StatusPolicy::default();
        assert_eq!(health(202, &usual), DestinationHealth::Up);
        for status in [400, 409, 413, 415, 422] {
            assert_eq!(health(status, &usual), DestinationHealth::RefusedEvent, "{status}");
        }
        for status in [302, 401, 403, 404, 405, 408, 410, 429, 500, 502, 503, 504] {
            assert_eq!(health(status, &usual), DestinationHealth::Down, "{status}");
        }
        let own = StatusPolicy { success_statuses: vec![409], fail_statuses: &[400] };
        assert_eq!(
            [409, 400, 200].map(|status| health(status, &own)),
            [DestinationHealth::Up, DestinationHealth::RefusedEvent, DestinationHealth::Down]
        );
        let blocked = Err(RequestError::BlockedRedirect("inside".into()));
        assert_eq!(usual.attempt_result(&"x", blocked, NOW_MS).health, DestinationHealth::Down);
    }

    #[test]
    fn retry_after_is_honored_up_to_an_hour() {
        let after = |value| match attempt(&StatusPolicy::default(), 429, Some(value)) {
            Outcome::Retry { after, .. } => after.map(|wait| wait.as_secs()),
            outcome => panic!("{outcome:?}"),
        };
        for (value, wanted) in [
            ("30", Some(30)),
            (" 30 ", Some(30)),
            ("86400", Some(3_600)),
            ("0", None),
            ("-5", None),
            ("soon", None),
            ("1.5", None),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", None),
            ("Mon, 07 Nov 1994 08:40:00 GMT", Some(3_600)),
        ] {
            assert_eq!(after(value), wanted, "{value}");
        }
    }

    #[test]
    fn missing_responses_are_retried_and_blocked_redirects_are_not() {
        let outcome = |error| StatusPolicy::default().attempt_result(&"x", Err(error), NOW_MS).outcome;
        assert_eq!(outcome(RequestError::NoResponse("late".into())), Outcome::retry("late"));
        assert_eq!(outcome(RequestError::Blocked("inside".into())), Outcome::retry("inside"));
        assert_eq!(outcome(RequestError::BlockedRedirect("inside".into())), Outcome::fail("inside"));
    }
}
