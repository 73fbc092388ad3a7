//! News from process directories through one inotify instance, of which a user has few (128).

use super::dir::ProcessDir;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Safety net below the notifications.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// Without notifications.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Watches any number of process directories. Clones share it.
#[derive(Debug, Clone)]
pub struct Watcher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` if inotify is not to be had. Never locked by the callback, which `watch` and `unwatch` wait for.
    engine: Mutex<Option<RecommendedWatcher>>,
    dirs: Arc<Mutex<Directories>>,
}

type Directories = HashMap<PathBuf, Entry>;

#[derive(Debug, Default)]
struct Entry {
    news: watch::Sender<()>,
    users: usize,
    notified: bool,
}

impl Entry {
    fn tell(&self) {
        self.news.send_modify(|()| ());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    /// Starts watching; falls back to polling if the host has no inotify instance left.
    pub fn new() -> Self {
        let dirs = Arc::new(Mutex::new(Directories::new()));
        let told = Arc::clone(&dirs);
        let engine = notify::recommended_watcher(move |event| tell(&told, event)).ok();
        Self(Arc::new(Shared { engine: Mutex::new(engine), dirs }))
    }

    /// Without notifications, for hosts that have none.
    pub fn polling() -> Self {
        Self(Arc::new(Shared { engine: Mutex::new(None), dirs: Arc::default() }))
    }

    /// Watches `dir` until the result is dropped.
    pub fn watch(&self, dir: &ProcessDir) -> DirWatch {
        let path = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().to_owned());
        let mut engine = lock(&self.0.engine);
        let (news, mut notified) = {
            let mut dirs = lock(&self.0.dirs);
            let entry = dirs.entry(path.clone()).or_default();
            entry.users += 1;
            (entry.news.subscribe(), entry.notified)
        };
        if let (false, Some(engine)) = (notified, engine.as_mut()) {
            notified = engine.watch(&path, RecursiveMode::NonRecursive).is_ok();
            if let Some(entry) = lock(&self.0.dirs).get_mut(&path) {
                entry.notified = notified;
            }
        }
        DirWatch { path, news, interval: if notified { AT_LEAST_EVERY } else { POLL_EVERY }, shared: Arc::clone(&self.0) }
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

fn tell(dirs: &Mutex<Directories>, event: notify::Result<Event>) {
    let dirs = lock(dirs);
    let Ok(event) = event else {
        dirs.values().for_each(Entry::tell);
        return;
    };
    match event.kind {
        // The shim closes what it wrote when it ends, even by SIGKILL.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        // We open and read files in answer to news: that is none.
        EventKind::Access(_) => return,
        _ => {}
    }
    if event.need_rescan() {
        dirs.values().for_each(Entry::tell);
    }
    for path in &event.paths {
        for place in [Some(path.as_path()), path.parent()].into_iter().flatten() {
            if let Some(entry) = dirs.get(place) {
                entry.tell();
            }
        }
    }
}

/// One watched directory.
#[derive(Debug)]
pub struct DirWatch {
    path: PathBuf,
    news: watch::Receiver<()>,
    interval: Duration,
    shared: Arc<Shared>,
}

impl DirWatch {
    /// Returns when something changed since the last return, and at least once a second. Cancel-safe: news that nobody
    /// was told stay news.
    pub async fn changed(&mut self) {
        let _ = tokio::time::timeout(self.interval, self.news.changed()).await;
    }
}

impl Drop for DirWatch {
    fn drop(&mut self) {
        let mut engine = lock(&self.shared.engine);
        let last = {
            let mut dirs = lock(&self.shared.dirs);
            let last = dirs.get_mut(&self.path).is_some_and(|entry| {
                entry.users -= 1;
                entry.users == 0
            });
            if last {
                dirs.remove(&self.path);
            }
            last
        };
        if let (true, Some(engine)) = (last, engine.as_mut()) {
            let _ = engine.unwatch(&self.path); // fails if the directory is gone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::ProcessId;
    use std::time::Instant;

    #[tokio::test]
    async fn news_arrive_at_once_and_are_kept_until_asked_for() {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = ProcessDir::new(root.path(), ProcessId::generate());
        std::fs::create_dir(dir.path()).expect("creates");
        let watcher = Watcher::new();
        let (mut one, mut two) = (watcher.watch(&dir), watcher.watch(&dir));
        let before = Instant::now();
        std::fs::write(dir.stdout(), "x").expect("writes");
        one.changed().await;
        two.changed().await;
        assert!(before.elapsed() < AT_LEAST_EVERY, "{:?}", before.elapsed());
        drop(one);
        assert_eq!(lock(&watcher.0.dirs).len(), 1);
        drop(two);
        assert!(lock(&watcher.0.dirs).is_empty());
    }

    #[tokio::test]
    async fn without_notifications_it_looks_twice_a_second() {
        let root = tempfile::tempdir().expect("temporary directory");
        let mut watch = Watcher::polling().watch(&ProcessDir::new(root.path(), ProcessId::generate()));
        let before = Instant::now();
        watch.changed().await;
        assert!(before.elapsed() >= POLL_EVERY && before.elapsed() < AT_LEAST_EVERY, "{:?}", before.elapsed());
    }
}
