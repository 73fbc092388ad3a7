//! The shim's plumbing: lines from the FIFO, bytes to the CLI, output into files. Nothing here blocks or waits.

use chrono::{DateTime, Utc};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    time::Instant,
};

/// Longest line the FIFO takes, and the amount waiting for the CLI at which the FIFO is left alone.
pub(super) const MAX_PENDING: usize = 64 << 20;
/// Bytes moved at once.
pub(super) const CHUNK: usize = 256 << 10;
const MAX_LOG_BYTES: usize = 256 << 10;

/// Whether a line may go to the CLI: one whole JSON object.
pub(super) fn is_json_object(line: &[u8]) -> bool {
    line.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// What a line of the FIFO means.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Meaning {
    Forward,
    Eof,
    Stop,
    Kill,
    Sync,
    /// When the CLI is stopped from now on, if at all.
    Deadline(Option<DateTime<Utc>>),
    /// A deadline that is no time.
    NoDeadline,
    /// Half a line, garbage or an unknown command.
    Nothing,
}

impl Meaning {
    pub(super) fn of(line: &[u8]) -> Self {
        match line {
            b"!eof" => Self::Eof,
            b"!stop" => Self::Stop,
            b"!kill" => Self::Kill,
            _ if line.starts_with(b"!sync ") && std::str::from_utf8(line).is_ok() => Self::Sync,
            _ if is_json_object(line) => Self::Forward,
            _ => line.strip_prefix(b"!deadline ").map_or(Self::Nothing, Self::of_deadline),
        }
    }

    fn of_deadline(time: &[u8]) -> Self {
        if time == b"none" {
            return Self::Deadline(None);
        }
        let time = std::str::from_utf8(time).ok().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        time.map_or(Self::NoDeadline, |time| Self::Deadline(Some(time.to_utc())))
    }
}

/// Cuts what the FIFO delivers into lines.
#[derive(Default)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    start: usize,
    scanned: usize,
    /// Inside a line that is too long; it is dropped up to its end.
    discarding: bool,
}

impl LineBuffer {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete line without its end. An over-long one comes out empty, as lines to ignore do.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        let Some(length) = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.bytes.len();
            if self.discarding || self.bytes.len() - self.start > MAX_PENDING {
                *self = Self { discarding: true, ..Self::default() };
            } else if self.start == self.bytes.len() {
                *self = Self::default();
            }
            return None;
        };
        let end = self.scanned + length;
        let line = if std::mem::take(&mut self.discarding) { Vec::new() } else { self.bytes[self.start..end].to_vec() };
        self.start = end + 1;
        self.scanned = self.start;
        Some(line)
    }
}

/// Bytes on their way to the CLI.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub(super) fn push_line(&mut self, line: &[u8]) {
        self.bytes.drain(..self.sent);
        self.sent = 0;
        self.bytes.reserve(line.len() + 1);
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
    }
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() - self.sent >= MAX_PENDING
    }
    /// Writes what the pipe takes. An error means that nobody reads any more.
    pub(super) fn write_to(&mut self, pipe: &mut impl Write) -> io::Result<()> {
        while !self.is_empty() {
            match pipe.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        *self = Self::default();
        Ok(())
    }
}

/// `stdin.log`: what came in, whole lines only.
pub(super) struct Journal {
    file: File,
    length: u64,
}

impl Journal {
    pub(super) fn new(file: File) -> io::Result<Self> {
        Ok(Self { length: file.metadata()?.len(), file })
    }
    /// Appends the line or, on error, nothing.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        match self.file.write_all(line).and_then(|()| self.file.write_all(b"\n")) {
            Ok(()) => {
                self.length += line.len() as u64 + 1;
                Ok(())
            }
            Err(error) => {
                self.file.set_len(self.length)?;
                Err(error)
            }
        }
    }
}

/// One output stream of the CLI on its way into a file.
pub(super) struct Capture<P> {
    /// `None` once every writer is gone.
    pub(super) pipe: Option<P>,
    file: File,
    cap: u64,
    pub(super) written: u64,
    /// Read but not yet stored, because the disk is full.
    held: Vec<u8>,
    /// Since when storing has failed.
    pub(super) stalled: Option<(Instant, ErrorKind)>,
    /// There was more than the cap.
    pub(super) exceeded: bool,
}

impl<P: Read> Capture<P> {
    pub(super) fn new(pipe: P, file: File, cap: u64) -> Self {
        Self { pipe: Some(pipe), file, cap, written: 0, held: Vec::new(), stalled: None, exceeded: false }
    }
    pub(super) fn is_stalled(&self) -> bool {
        !self.held.is_empty()
    }
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Moves what there is, up to a share of it so that others get their turn; true if there may be more.
    pub(super) fn pump(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..16 {
            self.store();
            if self.is_stalled() {
                return false;
            }
            let Some(pipe) = &mut self.pipe else { return false };
            match pipe.read(buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
        self.store();
        !self.is_stalled()
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.cap - self.written).unwrap_or(usize::MAX);
        self.exceeded |= bytes.len() > room;
        self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.store();
    }

    fn store(&mut self) {
        let mut stored = 0;
        while stored < self.held.len() {
            match self.file.write(&self.held[stored..]) {
                Ok(count) if count > 0 => {
                    stored += count;
                    self.stalled = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => {
                    let kind = outcome.err().map_or(ErrorKind::WriteZero, |error| error.kind());
                    self.stalled.get_or_insert((Instant::now(), kind));
                    break;
                }
            }
        }
        self.written += stored as u64;
        self.held.drain(..stored);
    }
}

/// `shim.log`. Bounded, never content of the conversation.
pub(super) struct Log {
    file: Option<File>,
    written: usize,
}

impl Log {
    pub(super) fn new(file: Option<File>) -> Self {
        Self { file, written: 0 }
    }
    pub(super) fn note(&mut self, text: &str) {
        let line = format!("{} {text}\n", Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        if let Some(file) = &mut self.file
            && self.written + line.len() <= MAX_LOG_BYTES
        {
            self.written += line.len();
            let _ = file.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(buffer: &mut LineBuffer) -> Vec<String> {
        std::iter::from_fn(|| buffer.next_line()).map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let mut buffer = LineBuffer::default();
        buffer.feed(b"\nab");
        assert_eq!(lines(&mut buffer), [""]);
        buffer.feed(b"c\nde\nf");
        assert_eq!(lines(&mut buffer), ["abc", "de"]);
        buffer.feed(b"\n");
        assert_eq!(lines(&mut buffer), ["f"]);
        assert!(buffer.bytes.is_empty());
    }

    #[test]
    fn an_overlong_line_is_dropped_and_the_next_one_is_whole() {
        let mut buffer = LineBuffer::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..66 {
            buffer.feed(&piece);
            assert_eq!(buffer.next_line(), None);
            assert!(buffer.bytes.len() <= MAX_PENDING + piece.len());
        }
        buffer.feed(b"rest\n{}\n");
        assert_eq!(lines(&mut buffer), ["", "{}"]);
    }

    #[test]
    fn only_whole_objects_and_known_commands_mean_something() {
        for (line, meaning) in [
            (r#"{"a":1}"#, Meaning::Forward),
            (r#"{"a":1} "#, Meaning::Forward),
            (r#"{"a":1"#, Meaning::Nothing),
            (r#"{"a":1}{"b":2}"#, Meaning::Nothing),
            ("[1]", Meaning::Nothing),
            ("", Meaning::Nothing),
            ("!eof", Meaning::Eof),
            ("!stop", Meaning::Stop),
            ("!kill", Meaning::Kill),
            ("!sync 7", Meaning::Sync),
            ("!ki", Meaning::Nothing),
            ("!stop now", Meaning::Nothing),
            ("!deadline none", Meaning::Deadline(None)),
            ("!deadline 1970-01-01T00:00:01.5Z", Meaning::Deadline(DateTime::from_timestamp_millis(1500))),
            ("!deadline 1970-01-01T01:00:01+01:00", Meaning::Deadline(DateTime::from_timestamp_millis(1000))),
            ("!deadline 1970-01-01T00:00:01", Meaning::NoDeadline),
            ("!deadline ", Meaning::NoDeadline),
            ("!deadline", Meaning::Nothing),
        ] {
            assert_eq!(Meaning::of(line.as_bytes()), meaning, "{line}");
        }
    }

    #[test]
    fn the_cap_is_exact() {
        let file = tempfile::tempfile().expect("file");
        let mut capture = Capture::new(&b"0123456789"[..], file, 7);
        while capture.pump(&mut [0; 4]) {}
        assert!(capture.exceeded && capture.pipe.is_none());
        assert_eq!((capture.written, capture.file().metadata().expect("metadata").len()), (7, 7));

        let mut exact = Capture::new(&b"0123456"[..], tempfile::tempfile().expect("file"), 7);
        while exact.pump(&mut [0; 4]) {}
        assert!(!exact.exceeded && exact.written == 7);
    }

    #[test]
    fn a_full_disk_loses_nothing() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("opens");
        let mut capture = Capture::new(&b"precious"[..], full, 100);
        assert!(!capture.pump(&mut [0; 4]));
        assert!(capture.is_stalled() && capture.written == 0);
        assert_eq!(capture.stalled.map(|(_, kind)| kind), Some(ErrorKind::StorageFull));
        capture.file = tempfile::tempfile().expect("file");
        while capture.pump(&mut [0; 4]) {}
        assert_eq!((capture.written, capture.stalled), (8, None));
    }
}
