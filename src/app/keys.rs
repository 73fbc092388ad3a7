//! API keys: made, listed, revoked and checked. A secret is 256 random bits; only its SHA-256 is stored.

use super::{
    App, detached,
    error::{AppError, Missing},
    now,
};
use crate::model::{
    id::KeyId,
    key::{ApiKey, Principal, Scope},
    quota::KeyLimits,
};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// Owner of the first key.
pub const ADMIN_USER: &str = "admin";
/// Secrets are `mas_` and 64 hexadecimal digits; anything much longer is not worth hashing.
const LONGEST_SECRET: usize = 512;
/// How often the key behind an open stream is looked at again.
const KEY_CHECK: Duration = Duration::from_secs(10);

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Owner of everything made with the key.
    pub user: String,
    /// What the operator calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it stops working, if ever.
    pub expires_at: Option<DateTime<Utc>>,
    /// How much it may use.
    pub limits: KeyLimits,
}

impl App {
    /// Makes a key; the secret is returned here and never again.
    pub async fn create_key(&self, new: NewKey) -> Result<(ApiKey, String), AppError> {
        if new.scopes.is_empty() {
            return Err(AppError::field("scopes", "name at least one of read, operate, approve, admin"));
        }
        for (field, text) in [("user", &new.user), ("name", &new.name)] {
            if text.trim().is_empty() || text.chars().count() > 100 || text.chars().any(char::is_control) {
                return Err(AppError::field(field, "needs 1 to 100 characters without control characters"));
            }
        }
        if new.expires_at.is_some_and(|end| end <= Utc::now()) {
            return Err(AppError::field("expires_at", "lies in the past"));
        }
        let secret = new_secret()?;
        let key = self.insert_key(new, &secret).await?;
        Ok((key, secret))
    }

    /// All keys, without secrets.
    pub async fn list_keys(&self) -> Result<Vec<ApiKey>, AppError> {
        Ok(self.store.list_keys().await?)
    }

    /// Ends a key at once and for good.
    pub async fn revoke_key(&self, id: KeyId) -> Result<(), AppError> {
        let app = self.clone();
        let known = detached(async move { Ok(app.store.revoke_key(id, now()).await?) }).await?;
        if known {
            Ok(())
        } else {
            Err(AppError::NotFound(Missing::Other, format!("there is no key {id}; `mas key list` shows all")))
        }
    }

    /// Whether somebody holds a valid key with the scope `admin`.
    pub async fn has_admin_key(&self) -> Result<bool, AppError> {
        let now = Utc::now();
        Ok(self.list_keys().await?.iter().any(|key| key.scopes.contains(&Scope::Admin) && key.is_valid_at(now)))
    }

    /// Makes `secret` an admin key, unless it is known already; a revoked key is known and stays revoked. Says whether
    /// it is new.
    pub async fn adopt_admin_key(&self, name: &str, secret: &str) -> Result<bool, AppError> {
        let hash = hash(secret);
        if self.store.find_key(&prefix(&hash)).await?.is_some_and(|(_, stored)| stored == hash) {
            return Ok(false);
        }
        let new = NewKey {
            user: ADMIN_USER.into(),
            name: name.into(),
            scopes: vec![Scope::Admin],
            expires_at: None,
            limits: KeyLimits::default(),
        };
        self.insert_key(new, secret).await.map(|_| true)
    }

    /// Who `secret` stands for. Unknown, expired and revoked keys fail alike, after the same work.
    pub async fn authenticate(&self, secret: &str) -> Result<Principal, AppError> {
        if secret.len() > LONGEST_SECRET {
            return Err(AppError::InvalidKey);
        }
        let hash = hash(secret);
        let found = self.store.find_key(&prefix(&hash)).await?;
        // An unknown key is compared too, with a hash it cannot have: its own complement.
        let dummy = hash.map(|byte| !byte);
        let (key, stored) = match &found {
            Some((key, stored)) => (Some(key), stored),
            None => (None, &dummy),
        };
        let same = bool::from(stored.ct_eq(&hash));
        match key {
            Some(key) if same && key.is_valid_at(Utc::now()) => {
                Ok(Principal { key_id: key.id, user: key.user.clone(), scopes: key.scopes.clone(), limits: key.limits })
            }
            _ => Err(AppError::InvalidKey),
        }
    }

    async fn insert_key(&self, new: NewKey, secret: &str) -> Result<ApiKey, AppError> {
        let NewKey { user, name, scopes, expires_at, limits } = new;
        let key = ApiKey { id: KeyId::generate(), user, name, scopes, limits, created_at: now(), expires_at, revoked_at: None };
        let (app, hash, stored) = (self.clone(), hash(secret), key.clone());
        detached(async move { Ok(app.store.insert_key(&stored, &hash).await?) }).await?;
        Ok(key)
    }
}

/// Whether the key a stream was opened with still opens anything, looked up now and then.
pub(super) struct KeyWatch {
    who: Principal,
    due: Instant,
}

impl KeyWatch {
    /// Begins with a caller that was authenticated just now.
    pub(super) fn new(who: Principal) -> Self {
        Self { who, due: Instant::now() + KEY_CHECK }
    }

    /// When to look next.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Looks when it is time; `InvalidKey` once the key was revoked, has expired or is gone.
    pub(super) async fn check(&mut self, app: &App) -> Result<(), AppError> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let key = app.store.get_key(self.who.key_id).await?;
        if !key.is_some_and(|key| key.is_valid_at(Utc::now())) {
            return Err(AppError::InvalidKey);
        }
        self.due = Instant::now() + KEY_CHECK;
        Ok(())
    }

    /// Makes the next check look.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }
}

/// A secret for a new key: `mas_` and 256 random bits.
pub fn new_secret() -> Result<String, AppError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| AppError::Internal(format!("no random bytes: {error}")))?;
    Ok(format!("mas_{}", hexadecimal(&bytes)))
}

/// Two lower-case digits per byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing into a `String` cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn prefix(hash: &[u8; 32]) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&hash[..8]);
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::TestApp;

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, two) = (new_secret().expect("random"), new_secret().expect("random"));
        assert_ne!(one, two);
        let digits = one.strip_prefix("mas_").expect("prefix");
        assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{digits}");
    }

    fn readers_key() -> NewKey {
        let limits = KeyLimits::default();
        NewKey { user: "ann".into(), name: "laptop".into(), scopes: vec![Scope::Read], expires_at: None, limits }
    }

    #[tokio::test]
    async fn only_valid_keys_open() {
        let test = TestApp::start().await;
        let new = readers_key();
        let (key, secret) = test.app.create_key(new.clone()).await.expect("made");
        assert_eq!(test.app.authenticate(&secret).await.expect("opens").user, "ann");
        for wrong in ["", "mas_", "nonsense", &secret[1..], &"x".repeat(1000)] {
            assert_eq!(test.app.authenticate(wrong).await, Err(AppError::InvalidKey));
        }
        test.app.revoke_key(key.id).await.expect("revoked");
        assert_eq!(test.app.authenticate(&secret).await, Err(AppError::InvalidKey));
        assert!(matches!(test.app.revoke_key(KeyId::generate()).await, Err(AppError::NotFound(..))));
        assert!(test.app.create_key(NewKey { scopes: vec![], ..new }).await.is_err());
    }

    #[tokio::test]
    async fn a_watch_notices_a_revoked_and_an_expired_key() {
        let test = TestApp::start().await;
        let new = readers_key();
        let (key, secret) = test.app.create_key(new.clone()).await.expect("made");
        let mut watch = KeyWatch::new(test.app.authenticate(&secret).await.expect("opens"));
        watch.hurry();
        assert_eq!(watch.check(&test.app).await, Ok(()));
        test.app.revoke_key(key.id).await.expect("revoked");
        assert_eq!(watch.check(&test.app).await, Ok(()), "not yet time to look");
        watch.hurry();
        assert_eq!(watch.check(&test.app).await, Err(AppError::InvalidKey));

        let expires_at = Some(Utc::now() + chrono::TimeDelta::milliseconds(50));
        let (_, secret) = test.app.create_key(NewKey { expires_at, ..new }).await.expect("made");
        let mut watch = KeyWatch::new(test.app.authenticate(&secret).await.expect("opens"));
        while Some(Utc::now()) < expires_at {
            tokio::task::yield_now().await;
        }
        watch.hurry();
        assert_eq!(watch.check(&test.app).await, Err(AppError::InvalidKey));
    }

    #[tokio::test]
    async fn an_adopted_key_is_an_admins_and_stays_revoked() {
        let test = TestApp::start().await;
        let reader = NewKey {
            user: "ann".into(),
            name: "x".into(),
            scopes: vec![Scope::Read],
            expires_at: None,
            limits: KeyLimits::default(),
        };
        test.app.create_key(reader).await.expect("made");
        assert!(!test.app.has_admin_key().await.expect("asked"), "a reader's key does not count");
        assert!(test.app.adopt_admin_key("start", "mas_from_environment").await.expect("made"));
        assert!(test.app.has_admin_key().await.expect("asked"));
        assert!(!test.app.adopt_admin_key("start", "mas_from_environment").await.expect("known"));
        let principal = test.app.authenticate("mas_from_environment").await.expect("opens");
        assert!(principal.is_admin());
        test.app.revoke_key(principal.key_id).await.expect("revoked");
        assert!(!test.app.adopt_admin_key("start", "mas_from_environment").await.expect("known"));
        assert!(test.app.authenticate("mas_from_environment").await.is_err());
        assert!(!test.app.has_admin_key().await.expect("asked"));
    }
}
