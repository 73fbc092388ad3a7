//! API keys: scopes and the caller they stand for. Secrets never appear in these types.

use super::{id::KeyId, quota::KeyLimits, word::word_enum};
use chrono::{DateTime, Utc};

word_enum! {
    /// What a key may do. `admin` includes every other scope and sees all users' resources.
    Scope {
        /// Read tasks, agents and events.
        Read = "read",
        /// Create, change and cancel tasks.
        Operate = "operate",
        /// Decide pending approvals.
        Approve = "approve",
        /// Everything, for every user.
        Admin = "admin",
    }
}

/// The authenticated caller of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The key used.
    pub key_id: KeyId,
    /// The user the key belongs to; owner of what it creates.
    pub user: String,
    /// What the key may do.
    pub scopes: Vec<Scope>,
    /// How much the key may use; a gateway-wide limit holds as well.
    pub limits: KeyLimits,
}

impl Principal {
    /// Whether the key carries `scope`, directly or through `admin`.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.is_admin()
    }

    /// Whether the key sees every user's resources.
    pub fn is_admin(&self) -> bool {
        self.scopes.contains(&Scope::Admin)
    }

    /// The owner to filter by: `None` sees everything.
    pub fn owner_filter(&self) -> Option<&str> {
        (!self.is_admin()).then_some(self.user.as_str())
    }
}

/// A stored key without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKey {
    /// Public identifier, used to revoke.
    pub id: KeyId,
    /// Owner of everything made with the key.
    pub user: String,
    /// What the operator calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How much it may use.
    pub limits: KeyLimits,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working, if ever.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Whether the key opens anything at `now`.
    pub fn is_valid_at(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_includes_all_scopes_and_sees_all_users() {
        let mut principal =
            Principal { key_id: KeyId::generate(), user: "ann".into(), scopes: vec![Scope::Read], limits: KeyLimits::default() };
        assert!(principal.allows(Scope::Read) && !principal.allows(Scope::Operate));
        assert_eq!(principal.owner_filter(), Some("ann"));
        principal.scopes = vec![Scope::Admin];
        assert!(Scope::ALL.iter().all(|scope| principal.allows(*scope)));
        assert_eq!(principal.owner_filter(), None);
    }
}
