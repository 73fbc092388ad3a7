//! Where things are below the data directory.

use std::path::{Path, PathBuf};

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
    /// Written by the tunnel while it is open.
    pub fn public_url(&self) -> PathBuf {
        self.0.join("public-url")
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
    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}
