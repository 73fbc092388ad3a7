//! Where things are below the data directory.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

/// Files and directories below the data directory.
#[derive(Debug, Clone)]
pub struct DataDir(pub PathBuf);

#[expect(missing_docs, reason = "each name says which file it is")]
impl DataDir {
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    pub fn store_lock(&self) -> PathBuf {
        self.0.join("store-lock")
    }
    pub fn gc_lock(&self) -> PathBuf {
        self.0.join("gc-lock")
    }
    pub fn worktrees_lock(&self) -> PathBuf {
        self.0.join("worktrees-lock")
    }
    pub fn database(&self) -> PathBuf {
        self.0.join("mas.db")
    }
    pub fn address(&self) -> PathBuf {
        self.0.join("address")
    }
    pub fn admin_key(&self) -> PathBuf {
        self.0.join("admin-key")
    }
    pub fn rehearsal_address(&self) -> PathBuf {
        self.0.join("rehearsal-address")
    }
    pub fn rehearsal_lock(&self) -> PathBuf {
        self.0.join("rehearsal-lock")
    }
    pub fn rehearsal_log(&self) -> PathBuf {
        self.0.join("rehearsal.log")
    }
    pub fn processes(&self) -> PathBuf {
        self.0.join("processes")
    }
    pub fn inbox(&self) -> PathBuf {
        self.0.join(crate::model::inbox::INBOX)
    }
    pub fn workspaces(&self) -> PathBuf {
        self.0.join("workspaces")
    }
    /// Holds the one executable that claude-flow is to find as `claude`.
    pub fn hive_bin(&self) -> PathBuf {
        self.0.join("claude-flow/bin")
    }
    /// Processes of the mirror.
    pub fn mirror(&self) -> PathBuf {
        self.0.join("claude-flow/mirror")
    }
    /// The user's own roles.
    pub fn roles(&self) -> PathBuf {
        self.0.join("roles")
    }
    /// The user's own workflows.
    pub fn workflows(&self) -> PathBuf {
        self.0.join("workflows")
    }
    /// What runs of workflows leave as files.
    pub fn outputs(&self) -> PathBuf {
        self.0.join("outputs")
    }
    pub fn tunnel(&self) -> PathBuf {
        self.0.join("tunnel")
    }
    pub fn tunnel_subdomain(&self) -> PathBuf {
        self.0.join("tunnel-subdomain")
    }
    pub fn tunnel_last_url(&self) -> PathBuf {
        self.0.join("tunnel-last-url")
    }
    /// Written by the tunnel while it is open.
    pub fn public_url(&self) -> PathBuf {
        self.0.join("public-url")
    }
    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}
