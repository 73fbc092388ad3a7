//! API keys: their hashes, and whose they are.

use super::{
    Store, StoreError,
    db::{micros, on, text},
    json::JsonText,
};
use crate::model::{id::KeyId, key::ApiKey};
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct KeyRow {
    id: Uuid,
    user_name: String,
    name: String,
    scopes: JsonText,
    limits: Option<JsonText>,
    hash: Vec<u8>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl KeyRow {
    fn into_key(self) -> Result<(ApiKey, [u8; 32]), StoreError> {
        let hash = <[u8; 32]>::try_from(self.hash).map_err(|_| StoreError::internal("a stored key hash is not 32 bytes long"))?;
        let key = ApiKey {
            id: self.id.into(),
            user: self.user_name,
            name: self.name,
            scopes: self.scopes.parse()?,
            limits: self.limits.as_ref().map(JsonText::parse).transpose()?.unwrap_or_default(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
        };
        Ok((key, hash))
    }
}

impl Store {
    /// Stores a new key by the SHA-256 of its secret. `Internal` when the first 8 bytes of the hash are taken.
    pub async fn insert_key(&self, key: &ApiKey, hash: &[u8; 32]) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO api_key (id, user_name, name, scopes, hash_prefix, hash, created_at, expires_at, revoked_at, limits) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let scopes = JsonText::of(&key.scopes)?;
        let limits = JsonText::of(&key.limits)?;
        on!(write & self.db, |p| sqlx::query(SQL)
            .bind(key.id.uuid())
            .bind(text(&key.user))
            .bind(text(&key.name))
            .bind(scopes)
            .bind(&hash[..8])
            .bind(&hash[..])
            .bind(micros(key.created_at))
            .bind(key.expires_at.map(micros))
            .bind(key.revoked_at.map(micros))
            .bind(limits)
            .execute(p)
            .await
            .map(drop)?);
        Ok(())
    }

    /// The key whose hash begins with these 8 bytes, valid or not, and the whole hash. The caller compares it, in
    /// constant time: the index look-up by prefix tells an attacker nothing about the rest.
    pub async fn find_key(&self, hash_prefix: &[u8; 8]) -> Result<Option<(ApiKey, [u8; 32])>, StoreError> {
        const SQL: &str = "SELECT * FROM api_key WHERE hash_prefix = $1";
        let row: Option<KeyRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(&hash_prefix[..]).fetch_optional(p).await?);
        row.map(KeyRow::into_key).transpose()
    }

    /// A key by its id, valid or not.
    pub async fn get_key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        const SQL: &str = "SELECT * FROM api_key WHERE id = $1";
        let row: Option<KeyRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        row.map(|row| row.into_key().map(|(key, _)| key)).transpose()
    }

    /// Every key, also expired and revoked ones, oldest first.
    pub async fn list_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        const SQL: &str = "SELECT * FROM api_key ORDER BY id";
        let rows: Vec<KeyRow> = on!(read & self.db, |p| sqlx::query_as(SQL).fetch_all(p).await?);
        rows.into_iter().map(|row| row.into_key().map(|(key, _)| key)).collect()
    }

    /// Ends a key for good; the first time counts. `false`: there is no such key.
    pub async fn revoke_key(&self, id: KeyId, at: DateTime<Utc>) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE api_key SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";
        let changed =
            on!(write & self.db, |p| sqlx::query(SQL).bind(id.uuid()).bind(micros(at)).execute(p).await?.rows_affected());
        Ok(changed > 0)
    }
}
