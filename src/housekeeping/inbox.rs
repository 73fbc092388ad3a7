//! Files callers sent along. They go some time after their task has ended; what no task knows is reported, and goes by age.

use super::{Action, House, HousekeepingError, Item, What, at, size::disk_bytes};
use crate::model::id::TaskId;
use chrono::{DateTime, Utc};
use std::{
    io,
    path::{Path, PathBuf},
};

impl House<'_> {
    pub(super) async fn inbox(&self) -> Result<Vec<Item>, HousekeepingError> {
        let root = self.data.inbox();
        let limit = self.limit(self.policy.files_days);
        let mut items = Vec::new();
        for (id, dir) in list(&root).map_err(at(&root))? {
            let task = self.store.get_task(id, None).await?;
            // Files are fetched before their task is on record.
            let since = task.as_ref().map_or_else(|| changed(&dir), |task| task.ended_at);
            let mut action = match since {
                Some(since) if since < limit => Action::Remove,
                Some(_) => Action::Keep("not old enough".into()),
                None => Action::Keep("its task has not ended".into()),
            };
            let measured = self.mode.measure_all || action == Action::Remove;
            let bytes = if measured { disk_bytes(&dir).await } else { None };
            if action == Action::Remove
                && !self.mode.dry_run
                && let Err(error) = tokio::fs::remove_dir_all(&dir).await
            {
                action = Action::Failed(error.to_string());
            }
            let age = since.map(|since| self.now - since);
            items.push(Item { what: What::Files, id: id.to_string(), age, bytes, action });
        }
        Ok(items)
    }
}

fn changed(dir: &Path) -> Option<DateTime<Utc>> {
    dir.metadata().and_then(|found| found.modified()).ok().map(DateTime::from)
}

/// `<owner>/<task>` below the directory, which may not be there.
fn list(root: &Path) -> io::Result<Vec<(TaskId, PathBuf)>> {
    let mut found = Vec::new();
    let owners = match root.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        owners => owners?,
    };
    for owner in owners {
        let Ok(tasks) = owner?.path().read_dir() else { continue };
        for task in tasks {
            let path = task?.path();
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            found.extend(id.map(|id| (id, path)));
        }
    }
    Ok(found)
}
