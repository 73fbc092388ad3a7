//! A program in a terminal: what it shows, and keys for it.

use crate::support::{PATIENCE, until};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::{
    io::{Read, Write},
    num::NonZeroU16,
    process::Command,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};
use vt100::Parser;

/// Rows kept of what scrolled away.
const SCROLLBACK: usize = 1_000;

struct Terminal {
    parser: Parser,
    /// Everything the program wrote.
    output: Vec<u8>,
}

pub(super) struct Pty {
    terminal: Arc<Mutex<Terminal>>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    child: Option<Box<dyn Child + Send + Sync>>,
    reader: Option<JoinHandle<()>>,
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn not_zero(number: u16) -> NonZeroU16 {
    number.try_into().expect("not zero")
}

impl Pty {
    /// Starts the command in a terminal of this size.
    pub(super) fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let pair = native_pty_system().openpty(size(rows, columns)).expect("a terminal");
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env_clear();
        for (name, value) in command.get_envs() {
            builder.env(name, value.unwrap_or_default());
        }
        builder.env("TERM", "xterm-256color");
        builder.cwd(command.get_current_dir().expect("a directory"));
        let child = pair.slave.spawn_command(builder).expect("started");
        let mut from = pair.master.try_clone_reader().expect("a reader");
        let keys = pair.master.take_writer().expect("a writer");
        let parser = Parser::new(not_zero(rows), not_zero(columns), SCROLLBACK);
        let terminal = Arc::new(Mutex::new(Terminal { parser, output: vec![] }));
        let seen = Arc::clone(&terminal);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last one to close the other side ends it with an error.
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let mut seen = seen.lock().expect("not poisoned");
                seen.parser.process(&buffer[..length]);
                seen.output.extend_from_slice(&buffer[..length]);
            }
        });
        Self { terminal, master: pair.master, keys, child: Some(child), reader: Some(reader) }
    }

    /// What the terminal shows now.
    pub(super) fn screen(&self) -> String {
        self.terminal.lock().expect("not poisoned").parser.screen().contents()
    }

    /// All bytes the program wrote, as text.
    pub(super) fn output(&self) -> String {
        String::from_utf8_lossy(&self.terminal.lock().expect("not poisoned").output).into_owned()
    }

    pub(super) fn send(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("typed");
        self.keys.flush().expect("typed");
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        self.terminal.lock().expect("not poisoned").parser.screen_mut().set_size(not_zero(rows), not_zero(columns));
        self.master.resize(size(rows, columns)).expect("resized");
    }

    /// Waits until the screen is as wanted; a failing test shows how it was.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let waiting = until(what, || wanted(&self.screen()));
        let came = tokio::time::timeout(PATIENCE / 2, waiting).await;
        assert!(came.is_ok(), "never came true: {what}\n{}", self.screen());
    }

    /// Waits until the program has ended, and everything it wrote is here; its exit code.
    pub(super) async fn ended(&mut self) -> u32 {
        let (mut child, reader) = (self.child.take().expect("not waited for"), self.reader.take().expect("not waited for"));
        let waiting = tokio::task::spawn_blocking(move || {
            let status = child.wait().expect("waited");
            reader.join().expect("read");
            status.exit_code()
        });
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.screen())).expect("waited")
    }

    /// Whether lines are edited and echoed again, the cursor is seen, and pasted text comes as it is.
    pub(super) fn is_given_back(&self) -> bool {
        let modes = format!("{:?}", self.master.get_termios().expect("modes").local_flags);
        let terminal = self.terminal.lock().expect("not poisoned");
        let screen = terminal.parser.screen();
        modes.contains("ICANON") && modes.contains("ECHO") && !screen.hide_cursor() && !screen.bracketed_paste()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
