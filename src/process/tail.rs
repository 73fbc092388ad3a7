//! Reads a CLI's output in complete lines from a byte offset, across restarts of either side.

use super::{
    dir::{Liveness, ProcessDir},
    record::ExitRecord,
    watch::DirWatch,
};
use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

const CHUNK: usize = 1 << 20;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_LINES: usize = 500;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum TailBatch {
    /// Complete lines without their ends; at least one.
    Lines {
        /// As UTF-8; what is not is replaced.
        lines: Vec<String>,
        /// Where each of them ends in the file: offsets at which a later [`Tail`] can go on.
        ends: Vec<u64>,
        /// After the last of them: where a later [`Tail`] goes on.
        offset: u64,
    },
    /// The process ended and everything was read.
    End {
        /// What followed the last line end, if anything.
        partial_tail: Option<String>,
        /// How it ended.
        exit: ExitRecord,
    },
    /// The shim is gone without a record, and everything was read.
    Vanished {
        /// What followed the last line end, if anything.
        partial_tail: Option<String>,
    },
}

/// Follows the output of one process.
#[derive(Debug)]
pub struct Tail {
    dir: ProcessDir,
    file: Arc<File>,
    watch: DirWatch,
    /// Where `bytes` begins in the file; everything before was returned.
    offset: u64,
    bytes: Vec<u8>,
    /// Bytes known to contain no line end.
    scanned: usize,
    /// Set once the writer is known to be gone: what the file then has is all.
    end: Option<Liveness>,
}

impl Tail {
    /// Goes on at `offset`, which must be 0 or come from a [`TailBatch`].
    pub async fn open(dir: &ProcessDir, offset: u64, watch: DirWatch) -> io::Result<Self> {
        Self::follow(dir, dir.stdout(), offset, watch).await
    }

    /// Follows the diagnostics instead, which are cut at 1 MiB, from their beginning.
    pub async fn open_stderr(dir: &ProcessDir, watch: DirWatch) -> io::Result<Self> {
        Self::follow(dir, dir.stderr(), 0, watch).await
    }

    async fn follow(dir: &ProcessDir, place: PathBuf, offset: u64, watch: DirWatch) -> io::Result<Self> {
        let (file, length) = blocking(move || {
            let file = File::open(place)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        })
        .await?;
        if length < offset {
            let problem = format!("the output has {length} bytes, but {offset} were read before");
            return Err(io::Error::new(ErrorKind::InvalidData, problem));
        }
        Ok(Self { dir: dir.clone(), file: Arc::new(file), watch, offset, bytes: Vec::new(), scanned: 0, end: None })
    }

    /// Waits for the next lines or the end. Cancel-safe: state changes only between waits, and lines are taken out in
    /// the call that returns them.
    pub async fn next(&mut self) -> io::Result<TailBatch> {
        loop {
            if let Some(batch) = self.take_lines() {
                return Ok(batch);
            }
            let (file, at) = (Arc::clone(&self.file), self.offset + self.bytes.len() as u64);
            let chunk = blocking(move || read_chunk(&file, at)).await?;
            if !chunk.is_empty() {
                if self.bytes.capacity() - self.bytes.len() < chunk.len() {
                    // In steps, not by doubling: a line may have 50 MB.
                    self.bytes.reserve_exact(chunk.len().max(self.bytes.len() / 4));
                }
                self.bytes.extend_from_slice(&chunk);
                continue;
            }
            let partial_tail = || (!self.bytes.is_empty()).then(|| String::from_utf8_lossy(&self.bytes).into_owned());
            match &self.end {
                Some(Liveness::Exited(exit)) => {
                    return Ok(TailBatch::End { partial_tail: partial_tail(), exit: exit.clone() });
                }
                Some(_) => return Ok(TailBatch::Vanished { partial_tail: partial_tail() }),
                None => {}
            }
            let dir = self.dir.clone();
            match blocking(move || dir.inspect()).await? {
                Liveness::Running(_) => self.watch.changed().await,
                // Read once more: the last bytes may have come after the look at the file and before the end.
                end => self.end = Some(end),
            }
        }
    }

    /// Cuts complete lines off the front of `bytes`.
    fn take_lines(&mut self) -> Option<TailBatch> {
        let Some(first) = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.bytes.len();
            return None;
        };
        let first_end = self.scanned + first + 1;
        let (mut lines, mut ends) = (Vec::new(), Vec::new());
        let mut end = first_end;
        if first_end > BATCH_BYTES {
            // A huge line becomes the string itself instead of being copied.
            let rest = self.bytes.split_off(first_end);
            let mut line = std::mem::replace(&mut self.bytes, rest);
            line.pop();
            ends.push(self.offset + end as u64);
            lines.push(String::from_utf8(line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()));
        } else {
            let mut start = 0;
            loop {
                lines.push(String::from_utf8_lossy(&self.bytes[start..end - 1]).into_owned());
                ends.push(self.offset + end as u64);
                start = end;
                let Some(next) = self.bytes[start..].iter().position(|byte| *byte == b'\n') else { break };
                if lines.len() == BATCH_LINES || start + next + 1 > BATCH_BYTES {
                    break;
                }
                end = start + next + 1;
            }
            self.bytes.drain(..end);
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
        }
        self.scanned = 0;
        self.offset += end as u64;
        Some(TailBatch::Lines { lines, ends, offset: self.offset })
    }
}

fn read_chunk(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let ready = file.metadata()?.len().saturating_sub(at);
    let mut chunk = vec![0; usize::try_from(ready).unwrap_or(CHUNK).min(CHUNK)];
    if chunk.is_empty() {
        return Ok(chunk);
    }
    loop {
        match file.read_at(&mut chunk, at) {
            Ok(count) => {
                chunk.truncate(count);
                return Ok(chunk);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
