//! Pages of the list endpoints: `{items, has_more, pagination_key?}`.

use serde_json::{Value, json};

use super::answer::{ApiAnswer, ApiRefusal};
use super::request::ReceivedRequest;
use super::rules::lists;
use super::versions::DocumentFields;

/// Position of an item in a list: a number, for example a time, and the id for items with the same number.
pub(super) type SortKey = (i64, String);

/// The part of a list that a request asks for.
pub(super) struct PageParameters {
    limit: usize,
    cursor: Option<SortKey>,
    skip: usize,
    include_total: bool,
    is_ascending: bool,
}

impl PageParameters {
    /// Reads the parameters of the v2 lists from the query string.
    pub(super) fn from_query(request: &ReceivedRequest) -> Result<Self, ApiRefusal> {
        let limit = match request.query("limit") {
            Some(limit) => Some(limit.parse::<i64>().map_err(|_| lists::limit_refusal())?),
            None => None,
        };
        Self::new(limit, request.query("pagination_key"), request.query("sort_order"))
    }

    /// Reads the parameters of the v3 lists from the body.
    pub(super) fn from_body(body: &DocumentFields) -> Result<Self, ApiRefusal> {
        let limit = match body.get("limit") {
            Some(limit) => Some(limit.as_i64().ok_or_else(lists::limit_refusal)?),
            None => None,
        };
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let mut query = Self::new(limit, text("pagination_key"), text("sort_order"))?;
        let skip = body.get("skip").and_then(Value::as_u64);
        lists::skip_excludes_cursor(skip, query.cursor.is_some())?;
        query.skip = skip.and_then(|skip| usize::try_from(skip).ok()).unwrap_or(0);
        query.include_total = body.get("include_total") == Some(&Value::Bool(true));
        Ok(query)
    }

    fn new(limit: Option<i64>, cursor: Option<&str>, sort_order: Option<&str>) -> Result<Self, ApiRefusal> {
        let is_ascending = match sort_order {
            None | Some("descending") => false,
            Some("ascending") => true,
            Some(_) => return Err(ApiRefusal::bad_request("sort_order must be ascending or descending")),
        };
        let cursor = cursor.map(decode_cursor).transpose()?;
        Ok(Self { limit: lists::page_limit(limit)?, cursor, skip: 0, include_total: false, is_ascending })
    }
}

/// The page of `items` that `query` asks for. A cursor names the last item of the page before, so that items which are
/// added meanwhile neither repeat nor hide others.
pub(super) fn page(mut items: Vec<(SortKey, Value)>, query: &PageParameters) -> ApiAnswer {
    items.sort_by(|(left, _), (right, _)| left.cmp(right));
    if !query.is_ascending {
        items.reverse();
    }
    let total = items.len();
    let is_after_cursor = |key: &SortKey| match &query.cursor {
        None => true,
        Some(cursor) if query.is_ascending => key > cursor,
        Some(cursor) => key < cursor,
    };
    let rest: Vec<_> = items.into_iter().filter(|(key, _)| is_after_cursor(key)).skip(query.skip).collect();
    let has_more = rest.len() > query.limit;
    let shown: Vec<_> = rest.into_iter().take(query.limit).collect();
    let cursor = shown.last().map(|(key, _)| encode_cursor(key)).filter(|_| has_more);
    let items: Vec<Value> = shown.into_iter().map(|(_, item)| item).collect();
    let mut body = json!({ "items": items, "has_more": has_more });
    if let Some(cursor) = cursor {
        body["pagination_key"] = cursor.into();
    }
    if query.include_total {
        body["total"] = total.into();
    }
    ApiAnswer::ok(body)
}

fn encode_cursor((number, id): &SortKey) -> String {
    hex::encode(format!("{number}:{id}"))
}

fn decode_cursor(cursor: &str) -> Result<SortKey, ApiRefusal> {
    let text = hex::decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.as_deref().and_then(|text| {
        let (number, id) = text.split_once(':')?;
        Some((number.parse().ok()?, id.to_owned()))
    });
    key.ok_or_else(|| ApiRefusal::bad_request("Invalid pagination_key"))
}
