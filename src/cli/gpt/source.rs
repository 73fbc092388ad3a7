//! Where a document to be checked comes from: a file, standard input, or a URL. Bounded in size and time.

use crate::{cli::output::runtime, gpt::Document};
use anyhow::{Context, anyhow, bail};
use std::{
    fs::File,
    io::{Read, stdin},
    path::Path,
    time::Duration,
};

/// Largest document; `ChatGPT` takes about 1 MB.
const MOST_BYTES: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads and understands it.
pub(super) fn read(source: &str) -> anyhow::Result<Document> {
    let scheme = source.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let text = match scheme.as_deref() {
        Some("http" | "https") => runtime()?.block_on(fetch(source))?,
        Some(other) => bail!("`{other}` is not known here; give a file, `-` for standard input, or an http(s) URL"),
        None if source == "-" => bounded(stdin().lock())?,
        None if Path::new(source).is_dir() => bail!("this is a directory; give an OpenAPI document in it"),
        None => {
            let what = "give a file, `-` for standard input, or an http(s) URL";
            bounded(File::open(source).map_err(|error| anyhow!("{error}; {what}"))?)?
        }
    };
    Ok(Document::read(&text)?)
}

fn bounded(reader: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut text = vec![];
    reader.take(MOST_BYTES as u64 + 1).read_to_end(&mut text).context("cannot be read")?;
    check_size(text.len())?;
    Ok(text)
}

fn check_size(bytes: usize) -> anyhow::Result<()> {
    if bytes > MOST_BYTES {
        bail!("is larger than {MOST_BYTES} bytes; ChatGPT takes about 1 MB, so give a reduced document");
    }
    Ok(())
}

async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::limited(5))
        .user_agent(concat!("mas/", env!("CARGO_PKG_VERSION")))
        .build()?;
    // The error repeats the address, which stands before it already.
    let unreachable = |error: reqwest::Error| anyhow::Error::from(error.without_url()).context("cannot be fetched");
    let mut response =
        client.get(url).header("accept", "application/json, application/yaml, */*;q=0.5").send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        bail!("the server answers {}; give the address of an OpenAPI document that needs no login", response.status());
    }
    let mut text = vec![];
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        check_size(text.len() + chunk.len())?;
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}
