//! What a typed line asks for.

/// What `/help` says.
pub(super) const HELP: [&str; 9] = [
    "Enter        send the text; while the agent works it joins the running turn",
    "Alt-Enter    a new line (Ctrl-J as well)",
    "Up, Down     what you sent before",
    "Esc          interrupt the running turn; the conversation is kept",
    "Ctrl-D       leave; the agent goes on (Ctrl-C as well)",
    "/interrupt   like Esc",
    "/terminate   end the agent",
    "/detach      like Ctrl-D",
    "//…          send a text that begins with /",
];

/// A typed line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Nothing,
    Message(String),
    Help,
    Interrupt,
    Terminate,
    Detach,
    Unknown(String),
}

impl Typed {
    pub(super) fn read(text: &str) -> Self {
        let trimmed = text.trim();
        match trimmed.strip_prefix('/') {
            None if trimmed.is_empty() => Self::Nothing,
            None => Self::Message(trimmed.to_owned()),
            Some(message) if message.starts_with('/') => Self::Message(message.to_owned()),
            Some("help") => Self::Help,
            Some("interrupt") => Self::Interrupt,
            Some("terminate") => Self::Terminate,
            Some("detach") => Self::Detach,
            Some(_) => Self::Unknown(trimmed.split_whitespace().next().unwrap_or_default().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_texts() {
        assert_eq!(Typed::read("  hello\nyou "), Typed::Message("hello\nyou".into()));
        assert_eq!(Typed::read("//compact now"), Typed::Message("/compact now".into()));
        assert_eq!(Typed::read("/terminate "), Typed::Terminate);
        assert_eq!(Typed::read("/exit now"), Typed::Unknown("/exit".into()));
        assert_eq!(Typed::read(" \n"), Typed::Nothing);
    }
}
