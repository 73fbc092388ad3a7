//! What the commands that talk to a server read from the environment.

use std::collections::BTreeMap;

/// Where the server is and the key for it, as the environment has them.
#[derive(Clone, Default)]
pub struct ClientVariables {
    /// `MAS_URL`
    pub url: Option<String>,
    /// `MAS_API_KEY`
    pub api_key: Option<String>,
}

impl ClientVariables {
    /// Reads them from this process's environment.
    pub fn read() -> Self {
        #[expect(clippy::disallowed_methods, reason = "config is the one reader of the environment")]
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Self::from_environment(&environment)
    }

    /// [`ClientVariables::read`] over a given environment. An empty variable is one that is not set.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| environment.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        Self { url: set("MAS_URL"), api_key: set("MAS_API_KEY") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_are_not_set() {
        let environment = BTreeMap::from([("MAS_URL".to_owned(), " ".to_owned()), ("MAS_API_KEY".to_owned(), "k\n".to_owned())]);
        let ClientVariables { url, api_key } = ClientVariables::from_environment(&environment);
        assert_eq!((url, api_key.as_deref()), (None, Some("k")));
    }
}
