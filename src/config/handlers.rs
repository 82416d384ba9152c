use serde::{Deserialize, Serialize};

/// One `[[handlers]]` table.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HandlerSettings {
    /// Unique name; the store remembers by it how far the handler has come.
    pub name: String,
    /// What it does.
    pub kind: HandlerKind,
    /// `false` keeps the table but runs nothing.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Event names it wants, such as `["call_ended", "call_analyzed"]`; empty means all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Agent ids it wants; empty means all.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Company slugs it wants; empty means all.
    #[serde(default)]
    pub companies: Vec<String>,
}

/// The handlers in the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum HandlerKind {
    /// One readable line an event.
    Log,
    /// One row a call, for `calls list`.
    CallStore,
}

impl HandlerKind {
    /// The name used in configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::CallStore => "call_store",
        }
    }
}

// By hand, because the derived message quotes the value, and the value of a wrong key may be a secret.
impl TryFrom<String> for HandlerKind {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let kinds = [Self::Log, Self::CallStore];
        kinds.into_iter().find(|kind| kind.as_str() == name).ok_or("expected log or call_store")
    }
}

impl HandlerSettings {
    /// What runs when no `[[handlers]]` is configured: `log` and `call_store`, for every event.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        [HandlerKind::Log, HandlerKind::CallStore].map(Self::of_kind).into()
    }

    fn of_kind(kind: HandlerKind) -> Self {
        let name = kind.as_str().to_owned();
        Self { name, kind, enabled: true, events: Vec::new(), agents: Vec::new(), companies: Vec::new() }
    }
}

fn yes() -> bool {
    true
}
