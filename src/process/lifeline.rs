//! The pipe by which a process is tied to the server: the kernel closes it when the server ends, however it ends.

use rustix::{event::PollFd, event::PollFlags, io::ioctl_fionbio};
use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::fd::AsFd,
};
use tokio::process::ChildStdin;

/// The server's end. Dropping it stops the process and all it started.
#[derive(Debug)]
pub struct Lifeline(#[expect(dead_code, reason = "held, never used: its closing is the message")] pub(super) ChildStdin);

/// The shim's end; for a process that is not tied, nothing.
pub(super) struct Tie(Option<File>);

impl Tie {
    /// Takes over the shim's stdin if the process is tied.
    pub(super) fn of_stdin(tied: bool) -> io::Result<Self> {
        if !tied {
            return Ok(Self(None));
        }
        let pipe = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        ioctl_fionbio(&pipe, true)?;
        Ok(Self(Some(pipe)))
    }

    /// Whether the server let go since the last look. True once only.
    pub(super) fn was_cut(&mut self) -> bool {
        let Some(pipe) = &mut self.0 else { return false };
        let cut = match pipe.read(&mut [0; 8]) {
            Ok(count) => count == 0, // nobody writes to it
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        if cut {
            self.0 = None;
        }
        cut
    }

    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.0.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN))
    }
}
