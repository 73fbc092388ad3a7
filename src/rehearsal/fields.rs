//! Deserializers for step fields whose type alone does not say what is allowed.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};
use std::time::Duration;

/// One object or a list of them.
pub(super) fn one_or_many<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: serde::de::DeserializeOwned,
    D: Deserializer<'de>,
{
    match Value::deserialize(from)? {
        Value::Array(items) => items
            .into_iter()
            .map(|item| T::deserialize(item).map_err(|error| D::Error::custom(format!("tool_use: {error}"))))
            .collect(),
        one => T::deserialize(one).map(|item| vec![item]).map_err(|error| D::Error::custom(format!("tool_use: {error}"))),
    }
}

/// Content blocks: objects with a `type`, and for the known types what streaming them needs.
pub(super) fn blocks<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Value>>, D::Error> {
    let blocks = Vec::<Map<String, Value>>::deserialize(from)?;
    if blocks.is_empty() {
        return Err(D::Error::custom("blocks: the list is empty"));
    }
    for (i, block) in blocks.iter().enumerate() {
        let needed: &[&str] = match block.get("type").and_then(Value::as_str) {
            Some("text") => &["text"],
            Some("thinking") => &["thinking"],
            Some("tool_use") => &["id", "name"],
            Some(_) => &[],
            None => return Err(D::Error::custom(format!("blocks[{i}]: no string field `type`"))),
        };
        if let Some(field) = needed.iter().find(|field| !block.get(**field).is_some_and(Value::is_string)) {
            return Err(D::Error::custom(format!("blocks[{i}]: no string field `{field}`")));
        }
    }
    Ok(Some(blocks.into_iter().map(Value::Object).collect()))
}

/// Seconds with a fraction.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let seconds = f64::deserialize(from)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|error| D::Error::custom(format!("hang: {seconds}: {error}")))
}

/// An HTTP error status.
pub(super) fn error_status<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let status = u16::deserialize(from)?;
    if (400..600).contains(&status) { Ok(status) } else { Err(D::Error::custom(format!("status: {status} is not an error"))) }
}

/// Response headers; numbers and booleans are written as text.
pub(super) fn headers<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderMap, D::Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in Map::<String, Value>::deserialize(from)? {
        let parsed: HeaderName = name.parse().map_err(|_| D::Error::custom(format!("headers: `{name}` is not a header name")))?;
        // The server frames the body itself; a script that contradicted it would only break the connection.
        if parsed == header::CONTENT_LENGTH || parsed == header::TRANSFER_ENCODING {
            return Err(D::Error::custom(format!("headers: `{name}` cannot be set")));
        }
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
            _ => return Err(D::Error::custom(format!("headers: the value of `{name}` is not text"))),
        };
        let text = HeaderValue::try_from(text).map_err(|_| D::Error::custom(format!("headers: bad value of `{name}`")))?;
        headers.insert(parsed, text);
    }
    Ok(headers)
}
