//! An address to listen on, or the word `off`, for `#[serde(with)]`.

use std::net::SocketAddr;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

/// An empty environment variable counts as unset, so `off` is the way to turn off a listener there.
const OFF: &str = "off";

pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    match String::deserialize(deserializer)?.trim() {
        "" | OFF => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| D::Error::custom("expected an IP address with a port (127.0.0.1:8001) or the word off")),
    }
}

#[allow(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(in crate::config) fn serialize<S: Serializer>(
    address: &Option<SocketAddr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => address.serialize(serializer),
        None => OFF.serialize(serializer),
    }
}
