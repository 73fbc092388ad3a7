//! Helpers of before that were tied to a server: each is gone for certain before the next one starts.

use super::{Liveness, ProcessDir, kill_leftovers};
use std::{io, path::Path, time::Duration};
use tokio::time::{sleep, timeout};

const STEP: Duration = Duration::from_millis(5);
/// How long a helper that was let go may take: the grace of its shim and some more.
const LIMIT: Duration = Duration::from_secs(5);

/// Ends what still runs below `root` and removes it, but for the files of the last helper, which may explain its end.
pub async fn clear(root: &Path) {
    let mut directories = match ProcessDir::list(root) {
        Ok(directories) => directories,
        Err(error) => return tracing::warn!(%error, "the directories of former helpers cannot be listed"),
    };
    let last = directories.pop();
    for (_, dir) in &directories {
        if let Err(error) = end(dir).await.and_then(|()| dir.remove()) {
            tracing::warn!(%error, dir = %dir.path().display(), "a former helper cannot be removed");
        }
    }
    if let Some((_, dir)) = last
        && let Err(error) = end(&dir).await
    {
        tracing::warn!(%error, dir = %dir.path().display(), "a former helper cannot be ended");
    }
}

/// Waits for the end of a helper that was let go, then makes sure of it.
pub async fn end(dir: &ProcessDir) -> io::Result<()> {
    let found = if let Ok(found) = timeout(LIMIT, ended(dir)).await {
        found?
    } else {
        dir.kill_shim()?;
        timeout(LIMIT, ended(dir)).await??
    };
    match found {
        Liveness::Exited(_) => Ok(()),
        _ => kill_leftovers(dir).await.map(|_| ()),
    }
}

async fn ended(dir: &ProcessDir) -> io::Result<Liveness> {
    loop {
        match dir.inspect()? {
            Liveness::Running(_) => sleep(STEP).await,
            found => return Ok(found),
        }
    }
}
