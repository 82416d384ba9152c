use super::output;
use crate::base::clock::Clock;

pub(super) fn parse_time_arg(text: &str) -> Result<i64, String> {
    output::parse_time(text, Clock::system().now_ms())
}
