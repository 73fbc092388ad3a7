//! The signals that mean something to the shim, as readable sockets that its loop can wait for.

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1};
use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    sync::{Arc, atomic::AtomicBool},
};

/// Signals as readable sockets.
pub(super) struct Signals {
    pub(super) child: UnixStream,
    pub(super) stop: UnixStream,
    pub(super) kill: UnixStream,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        // Handlers, not SIG_IGN: exec resets them, so the CLI starts with the defaults.
        for ignored in [SIGINT, SIGHUP, SIGQUIT, SIGPIPE] {
            signal_hook::flag::register(ignored, Arc::new(AtomicBool::new(false)))?;
        }
        let pipe = |signal| -> io::Result<UnixStream> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal, writer)?;
            Ok(reader)
        };
        Ok(Self { child: pipe(SIGCHLD)?, stop: pipe(SIGTERM)?, kill: pipe(SIGUSR1)? })
    }
}

/// Whether the signal came since the last look.
pub(super) fn arrived(mut signal: &UnixStream) -> bool {
    signal.read(&mut [0; 64]).is_ok_and(|count| count > 0)
}
