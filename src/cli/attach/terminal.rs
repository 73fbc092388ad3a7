//! The terminal while we read every key: it is given back as it was, whatever happens.

use crossterm::{
    cursor::Show,
    event::{DisableBracketedPaste, EnableBracketedPaste},
    execute,
    terminal::{disable_raw_mode, enable_raw_mode},
};
use std::{
    io::{self, stdout},
    panic,
    sync::Once,
};

/// Keys come one by one, and nothing is echoed, for as long as this lives.
pub(super) struct RawTerminal;

impl RawTerminal {
    pub(super) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        // The words of a panic are to be read, and they come before anything is dropped.
        HOOK.call_once(|| {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                give_back();
                usual(panic);
            }));
        });
        enable_raw_mode()?;
        let entered = Self;
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(entered)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whoever has gone cannot be told that this failed.
fn give_back() {
    drop(execute!(stdout(), DisableBracketedPaste, Show));
    drop(disable_raw_mode());
}
