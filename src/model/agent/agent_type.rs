//! Names of roles: what kind of worker an agent is.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Longest name, in bytes.
pub const AGENT_TYPE_BYTES: usize = 40;

/// Names that mean something else where a role may be named.
const RESERVED: [&str; 2] = ["all", "user"];

/// The name of a role, such as `coder`: lower-case letters, digits, `-` and `_`, at most [`AGENT_TYPE_BYTES`] of them, a letter
/// first. That it is well formed does not mean that there is such a role: the [catalogue](crate::model::role::Catalogue) knows.
///
/// Kept in place instead of in a `String`, so that members of a swarm and recipients of messages stay `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentType {
    // Bytes behind the name are 0, so that the derived order is that of the names.
    bytes: [u8; AGENT_TYPE_BYTES],
    len: u8,
}

#[expect(missing_docs, reason = "roles/*.md say what each is for")]
impl AgentType {
    pub const PLANNER: Self = Self::known("planner");
    pub const CODER: Self = Self::known("coder");
    pub const REVIEWER: Self = Self::known("reviewer");
    pub const TESTER: Self = Self::known("tester");
    pub const RESEARCHER: Self = Self::known("researcher");
    pub const ARCHITECT: Self = Self::known("architect");
    pub const ANALYST: Self = Self::known("analyst");
    pub const OPTIMIZER: Self = Self::known("optimizer");
    pub const DOCUMENTER: Self = Self::known("documenter");
    pub const COORDINATOR: Self = Self::known("coordinator");
}

impl AgentType {
    /// Those that come with the program.
    pub const SHIPPED: &'static [Self] = &[
        Self::PLANNER,
        Self::CODER,
        Self::REVIEWER,
        Self::TESTER,
        Self::RESEARCHER,
        Self::ARCHITECT,
        Self::ANALYST,
        Self::OPTIMIZER,
        Self::DOCUMENTER,
        Self::COORDINATOR,
    ];

    /// A name of our own; the compiler refuses one that is too long.
    #[expect(clippy::cast_possible_truncation, reason = "at most 40")]
    const fn known(name: &str) -> Self {
        let (from, mut bytes, mut at) = (name.as_bytes(), [0; AGENT_TYPE_BYTES], 0);
        while at < from.len() {
            bytes[at] = from[at];
            at += 1;
        }
        Self { bytes, len: from.len() as u8 }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        // Only ever made of ASCII.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// Text that cannot be the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of an agent type: lower-case letters, digits, - and _, a letter first, at most \
     {AGENT_TYPE_BYTES} characters, and not `all` or `user`"
)]
pub struct InvalidAgentType(String);

impl FromStr for AgentType {
    type Err = InvalidAgentType;

    fn from_str(name: &str) -> Result<Self, InvalidAgentType> {
        let fits = name.len() <= AGENT_TYPE_BYTES
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
            && !RESERVED.contains(&name);
        if fits { Ok(Self::known(name)) } else { Err(InvalidAgentType(name.chars().take(60).collect())) }
    }
}

impl fmt::Display for AgentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for AgentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentType({self})")
    }
}

impl Serialize for AgentType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AgentType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for AgentType {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let names: Vec<&str> = Self::SHIPPED.iter().map(Self::as_str).collect();
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some(format!("A role: {}, or one of the gateway's own.", names.join(", "))))
            .pattern(Some("^[a-z][a-z0-9_-]*$"))
            .max_length(Some(AGENT_TYPE_BYTES))
            .examples([serde_json::json!(Self::CODER)])
            .into()
    }
}

impl utoipa::ToSchema for AgentType {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_were_made_of() {
        for name in ["coder", "a", "site-reliability_2", &"x".repeat(AGENT_TYPE_BYTES)] {
            let role: AgentType = name.parse().expect("well formed");
            assert_eq!((role.as_str(), role.to_string().as_str()), (name, name));
            assert_eq!(serde_json::from_value::<AgentType>(serde_json::json!(role)).expect("a role"), role);
        }
        assert!("coder".parse() == Ok(AgentType::CODER) && "coder2".parse() != Ok(AgentType::CODER));
    }

    #[test]
    fn what_could_be_mistaken_for_something_else_is_no_name() {
        let long = "x".repeat(AGENT_TYPE_BYTES + 1);
        for wrong in ["", "Coder", "-x", "2nd", "a b", "a/b", "..", "é", "a.md", "all", "user", "a\0", long.as_str()] {
            assert!(wrong.parse::<AgentType>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_names() {
        let mut sorted = AgentType::SHIPPED.to_vec();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    }
}
