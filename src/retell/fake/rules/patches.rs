//! Rules about the bodies of patches.

use serde_json::Value;

use crate::retell::fake::versions::DocumentFields;

/// Read-only and unknown keys of a patch, such as `is_published` or `last_modification_timestamp`, are ignored without
/// an error. A client notices by reading the document back.
/// Source: a public project that deployed through the API in 2025 and found `is_published` without effect.
pub(in crate::retell::fake) fn keep_known_keys(patch: DocumentFields, known: &[&str]) -> DocumentFields {
    patch.into_iter().filter(|(key, _)| known.contains(&key.as_str())).collect()
}

/// A key of a patch replaces the whole value. This includes the arrays `general_tools`, `states`, `nodes` and `tools`:
/// an element that is not sent is deleted.
/// Source: Retell's SDK 6.2.13, `types/llm_update_params.py` and `types/conversation_flow_update_params.py`.
pub(in crate::retell::fake) fn replace_keys(document: &mut DocumentFields, patch: DocumentFields) {
    document.extend(patch);
}

/// Marks `document` as changed at `now_ms`.
pub(in crate::retell::fake) fn touch(document: &mut DocumentFields, now_ms: i64) {
    document.insert("last_modification_timestamp".into(), Value::from(now_ms));
}
