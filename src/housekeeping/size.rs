//! How much disk space a directory takes.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Size of the blocks `stat` counts, whatever the file system's own are.
const BLOCK_BYTES: u64 = 512;

/// Disk space of everything below `dir`; symbolic links are not followed. `None`: it could not be read to the end.
pub(super) async fn disk_bytes(dir: &Path) -> Option<u64> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || walk(dir).ok()).await.ok().flatten()
}

fn walk(dir: PathBuf) -> io::Result<u64> {
    let (mut bytes, mut left) = (fs::symlink_metadata(&dir)?.blocks() * BLOCK_BYTES, vec![dir]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            bytes += facts.blocks() * BLOCK_BYTES;
            if facts.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_below_counts_and_links_do_not_lead_outside() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("sub")).expect("made");
        fs::write(dir.path().join("sub/file"), vec![1; 100_000]).expect("written");
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).expect("linked");
        let bytes = disk_bytes(dir.path()).await.expect("readable");
        assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
        assert_eq!(disk_bytes(&dir.path().join("gone")).await, None);
    }
}
