//! Prefixed identifiers over `UUIDv7`: `task_0193…`. They sort by creation time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an id like `{prefix}_` followed by 32 hexadecimal digits")]
pub struct InvalidId {
    given: String,
    prefix: &'static str,
}

macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, later than every earlier one of this process.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
            /// The bare UUID, as stored.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }
        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId { given: text.chars().take(64).collect(), prefix: $prefix };
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or_else(invalid)?;
                // `Uuid` also parses braces, hyphens and upper case; one id has one spelling.
                if digits.len() != 32 || digits.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(invalid());
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| invalid())
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-9a-f]{32}$")))
                    .examples([serde_json::json!(concat!($prefix, "_0193f2a87c3e7d10b5a1c2d3e4f50617"))])
                    .into()
            }
        }
        impl utoipa::ToSchema for $name {}
    };
}

id_type!(
    /// Identifies a task.
    TaskId, "task"
);
id_type!(
    /// Identifies an agent.
    AgentId, "agent"
);
id_type!(
    /// Identifies a run.
    RunId, "run"
);
id_type!(
    /// Identifies one incarnation of an agent's CLI.
    ProcessId, "proc"
);
id_type!(
    /// Identifies a swarm.
    SwarmId, "swarm"
);
id_type!(
    /// Identifies a run of a workflow.
    WorkflowRunId, "wfrun"
);
id_type!(
    /// Identifies a proposal.
    ProposalId, "proposal"
);
id_type!(
    /// Identifies a message within a swarm.
    MessageId, "msg"
);
id_type!(
    /// Identifies something a team remembers: a finding, a version of an artifact, a decision.
    MemoryId, "mem"
);
id_type!(
    /// Identifies an API key (not secret).
    KeyId, "key"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_has_one_spelling() {
        let id = TaskId::generate();
        assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
        for wrong in ["", "task_", "task_xyz", "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "task_0193F2A87C3E7D10B5A1C2D3E4F50617"]
        {
            assert!(wrong.parse::<TaskId>().is_err(), "{wrong}");
        }
    }
}
