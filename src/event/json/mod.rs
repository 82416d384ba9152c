//! JSON of which every part is kept: raw values, numbers with their digits, objects and enums that accept what they do
//! not know.

pub(super) mod from_json;
pub(super) mod json_number;
pub(super) mod json_object;
pub(super) mod lazy_json;
pub(super) mod open_enum;
pub(super) mod open_object;
pub(super) mod raw_fields;
pub(super) mod raw_json;
pub(super) mod valid_json;
