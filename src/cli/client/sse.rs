//! The lines of `text/event-stream`, put together to events.

/// One event as sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frame {
    pub(super) id: Option<i64>,
    pub(super) event: String,
    pub(super) data: String,
}

/// Takes bytes as they come, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Parser {
    rest: Vec<u8>,
    frame: Frame,
}

impl Parser {
    /// Events that these bytes complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.rest.extend_from_slice(bytes);
        let mut frames = vec![];
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end_matches(['\n', '\r']), &mut frames);
        }
        frames
    }

    fn line(&mut self, line: &str, frames: &mut Vec<Frame>) {
        if line.is_empty() {
            let mut frame = std::mem::take(&mut self.frame);
            if !frame.data.is_empty() {
                frame.data.pop();
                frames.push(frame);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.frame.id = value.parse().ok(),
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                self.frame.data.push_str(value);
                self.frame.data.push('\n');
            }
            // Comments keep the connection open; `retry` is not for us.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_however_their_bytes_are_cut() {
        let text = ":\n\nid: 3\nevent: message\ndata: {\"text\":\r\ndata: \"é\"}\n\nevent: end\ndata: {}\n\nid: 4\ndata: cut";
        let expected = [
            Frame { id: Some(3), event: "message".into(), data: "{\"text\":\n\"é\"}".into() },
            Frame { id: None, event: "end".into(), data: "{}".into() },
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let frames: Vec<Frame> = text.as_bytes().chunks(size).flat_map(|chunk| parser.push(chunk)).collect();
            assert_eq!(frames, expected, "in pieces of {size}");
        }
    }
}
