//! Durations that settings give in milliseconds, for `#[serde(with)]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use crate::base::clock::to_unsigned_ms;

pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

pub(in crate::config) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(to_unsigned_ms(*duration))
}

/// The same for a setting that may be unset.
pub(in crate::config) mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, to_unsigned_ms};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }

    #[allow(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&to_unsigned_ms(*duration)),
            None => serializer.serialize_none(),
        }
    }
}
