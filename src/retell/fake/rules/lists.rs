//! Rules about lists: pages, and what their items leave out.

use crate::retell::fake::answer::ApiRefusal;
use crate::retell::fake::versions::DocumentFields;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: i64 = 1_000;

/// A page has 50 items by default and at most 1,000; other limits get 400.
/// Source: Retell's OpenAPI text of April 2026, parameter `limit`.
pub(in crate::retell::fake) fn page_limit(limit: Option<i64>) -> Result<usize, ApiRefusal> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => usize::try_from(limit).map_err(|_| limit_refusal()),
        Some(_) => Err(limit_refusal()),
    }
}

pub(in crate::retell::fake) fn limit_refusal() -> ApiRefusal {
    ApiRefusal::bad_request("Invalid request format: limit must be an integer from 1 to 1000")
}

/// `skip` and `pagination_key` exclude each other: together they get 400.
/// Source: Retell's documentation of list-calls, revision of August 2026.
pub(in crate::retell::fake) fn skip_excludes_cursor(skip: Option<u64>, has_cursor: bool) -> Result<(), ApiRefusal> {
    if skip.is_some() && has_cursor {
        return Err(ApiRefusal::bad_request("skip cannot be used together with pagination_key"));
    }
    Ok(())
}

/// Keys that items of the call list do not have, although the call itself has them.
const TRANSCRIPT_KEYS: [&str; 5] = [
    "transcript",
    "transcript_object",
    "transcript_with_tool_calls",
    "scrubbed_transcript_with_tool_calls",
    "transcript_mini",
];

/// Items of `/v3/list-calls` have no transcripts. A client reads each call to get them.
/// Source: Retell's SDK 6.2.13, `types/call_list_response.py`.
pub(in crate::retell::fake) fn without_transcripts(call: &DocumentFields) -> DocumentFields {
    call.iter()
        .filter(|(key, _)| !TRANSCRIPT_KEYS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
