//! The commands' way to a server: the HTTP API, as any other client uses it.
//!
//! Every change carries an idempotency key, so repeating it after a broken connection has one effect.

mod error;
mod events;
mod sse;

pub(super) use error::ClientError;
pub(super) use events::{EventStream, ServerEvent};

use super::{Common, output::complain};
use crate::config::{ClientVariables, Config, DataDir};
use anyhow::{Context, anyhow};
use error::{Attempt, root};
use reqwest::{Method, Response, Url, header::HeaderValue, redirect::Policy};
use serde_json::{Value, json};
use std::{io::ErrorKind, net::SocketAddr, time::Duration};

const KEY_HEADER: &str = "x-mas-key";
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longer than any call may wait for something to happen.
const CALL_LIMIT: Duration = Duration::from_secs(70);
/// How often a call is repeated after the first time.
const REPEATS: u32 = 2;

/// Flags of every command that asks a server.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The server (default: `MAS_URL`, else the one of the data directory)
    #[arg(long, global = true, display_order = 92, value_name = "URL", value_parser = parse_url)]
    url: Option<Url>,
    /// Print what the API answers, as one JSON document
    #[arg(long, global = true, display_order = 93)]
    pub(super) json: bool,
}

/// One server and the key for it. Clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<HeaderValue>,
    /// Where the key was taken from, in words.
    key_origin: String,
    /// The data directory of a server of this machine: one that was found by it, not named.
    data: Option<DataDir>,
}

impl Client {
    /// Finds out where the server is and which key to use; asks nothing yet.
    pub(super) fn new(arguments: &ServerArgs) -> anyhow::Result<Self> {
        let variables = ClientVariables::read();
        let named = match (&arguments.url, &variables.url) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(url)) => Some(parse_url(url).map_err(|problem| anyhow!("MAS_URL: {problem}"))?),
            (None, None) => None,
        };
        // The key of the data directory is not for strangers, whatever --url says. Without it there is nothing to read here.
        let is_own = named.as_ref().is_none_or(|url| variables.api_key.is_none() && is_loopback(url));
        let config = is_own.then(|| Config::load(&arguments.common.clone().flags())).transpose()?;
        let data = config.as_ref().map(|config| DataDir(config.server.data_dir.clone()));
        let own_data = data.clone().filter(|_| named.is_none());
        let base = match (named, &config, &data) {
            (Some(url), _, _) => url,
            (None, Some(config), Some(data)) => {
                let announced = std::fs::read_to_string(data.address()).ok().and_then(|text| text.trim().parse().ok());
                local(announced.unwrap_or(config.server.bind))?
            }
            (None, _, _) => return Err(anyhow!("no server is named; give --url")),
        };
        let (key, key_origin) = match (variables.api_key, data) {
            (Some(key), _) => (Some(key), "the variable MAS_API_KEY".to_owned()),
            (None, Some(data)) => {
                let path = data.admin_key();
                match std::fs::read_to_string(&path) {
                    Ok(key) => (Some(key), path.display().to_string()),
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        (None, format!("nowhere: MAS_API_KEY is not set, and there is no {}", path.display()))
                    }
                    Err(error) => return Err(error).with_context(|| path.display().to_string()),
                }
            }
            (None, None) => (
                None,
                "nowhere: MAS_API_KEY is not set, and the key of the data directory is only for servers of this machine"
                    .to_owned(),
            ),
        };
        let key = key.map(|key| header(&key).with_context(|| format!("the key of {key_origin} is no text of one line")));
        Self::connect(base, key.transpose()?, key_origin, own_data)
    }

    fn connect(base: Url, key: Option<HeaderValue>, key_origin: String, data: Option<DataDir>) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mas/", env!("CARGO_PKG_VERSION")))
            // The key is for this server only.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        } else if base.scheme() == "http" && key.is_some() {
            complain(&format!("warning: the key travels in the clear to {base}; use https"));
        }
        Ok(Self { http: builder.build()?, base, key, key_origin, data })
    }

    /// Reads. `path` is the path's segments, which may hold any characters.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.call(&Method::GET, path, query, None).await
    }

    /// Changes or makes something, once, however often it has to be sent.
    pub(super) async fn post(&self, path: &[&str], body: Value) -> Result<Value, ClientError> {
        self.call(&Method::POST, path, &[], Some(with_key(body))).await
    }

    /// Edits something.
    pub(super) async fn patch(&self, path: &[&str], body: Value) -> Result<Value, ClientError> {
        self.call(&Method::PATCH, path, &[], Some(with_key(body))).await
    }

    /// Server-sent events of a path, after the one with this id. What a broken connection interrupts is resumed where it was.
    pub(super) fn events(&self, path: &[&str], query: &[(&str, String)], after: Option<i64>) -> Result<EventStream, ClientError> {
        Ok(EventStream::new(self.clone(), self.url(path, query)?, after))
    }

    /// Where the server is.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// The data directory of the server, if it was found by it.
    pub(super) fn local_data(&self) -> Option<&DataDir> {
        self.data.as_ref()
    }

    async fn call(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        let url = self.url(path, query)?;
        let mut repeats = 0;
        loop {
            let mut request = self.request(method.clone(), url.clone(), "application/json").timeout(CALL_LIMIT);
            if let Some(body) = &body {
                request = request.json(body);
            }
            match self.attempt(request).await {
                Ok(response) => return self.read(response).await,
                Err(Attempt::Again { after, .. }) if repeats < REPEATS => tokio::time::sleep(after).await,
                Err(failed) => return Err(failed.into_error()),
            }
            repeats += 1;
        }
    }

    fn request(&self, method: Method, url: Url, accepted: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url).header("accept", accepted);
        match &self.key {
            Some(key) => request.header(KEY_HEADER, key),
            None => request,
        }
    }

    /// One request up to the head of a good answer.
    async fn attempt(&self, request: reqwest::RequestBuilder) -> Result<Response, Attempt> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(error::refusal(response, &self.key_origin, &self.base).await)
    }

    async fn read(&self, response: Response) -> Result<Value, ClientError> {
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("nothing").to_owned();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error).into_error())?;
        serde_json::from_slice(&bytes)
            .map_err(|_| ClientError::Broken(format!("what answers at {} is no mas server: it sent {kind}", self.base)))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Attempt {
        let reason = ClientError::NoServer { url: self.base.to_string(), reason: root(error) };
        // What never arrived was tried and has no server; what broke may have arrived.
        if error.is_connect() || error.is_builder() {
            Attempt::Final(reason)
        } else {
            Attempt::Again { error: reason, after: Duration::from_millis(300) }
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        // An empty or dotted segment would ask for something else.
        if let Some(odd) = path.iter().find(|segment| ["", ".", ".."].contains(segment)) {
            return Err(ClientError::Broken(format!("`{odd}` is no id or name")));
        }
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

/// The body with a key under which the server does it once.
fn with_key(mut body: Value) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.entry("idempotency_key").or_insert_with(|| json!(uuid::Uuid::new_v4()));
    }
    body
}

fn header(key: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(key.trim())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The server of the data directory: where it says it listens, else where it would.
/// Where a server that listens on `address` is reached on this machine.
pub(super) fn local(mut address: SocketAddr) -> anyhow::Result<Url> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    Ok(Url::parse(&format!("http://{address}"))?)
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; it looks like http://127.0.0.1:3456"))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err("must begin with http:// or https://".into());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("must have neither user, password, query nor fragment".into());
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
