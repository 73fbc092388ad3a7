//! The look at an agent in a terminal: transcript above, status and a line to type below.

use super::{
    command::{HELP, Typed},
    feed::Feed,
    frame::{frame, typing_width},
    input::{Input, To},
    line::Line,
    link::Link,
    painter::Painter,
    render::{faint, plain, remark, warning},
    session::{News, Session, Told},
    terminal::RawTerminal,
};
use crate::cli::{
    client::ClientError,
    output::{harmless, print},
};
use crossterm::{
    event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    terminal,
};
use futures::StreamExt;
use rustix::process::{Signal, kill_current_process_group};
use std::{
    io::{self, Stdout, stdout},
    process::ExitCode,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

/// How long a stopped process may take to notice that it is stopped.
const STOPPING: Duration = Duration::from_millis(500);
/// News taken in before the screen is painted again.
const BATCH: usize = 100;

/// Why the look ends.
enum End {
    /// The user leaves.
    Detached,
    /// A signal wants us to.
    Signalled(u8),
    /// There is nothing more to see.
    Over,
    /// There is nothing to see.
    Failed(ClientError),
}

/// What a key leads to.
enum Key {
    Done,
    Suspend,
    Leave,
}

struct Screen<'a> {
    link: &'a Link,
    news: mpsc::Sender<News>,
    session: Session,
    input: Input,
    painter: Painter<Stdout>,
    size: (usize, usize),
    /// What is to be added to the transcript.
    lines: Vec<Line>,
}

/// Shows the agent until it ends or the user leaves.
pub(super) async fn run(
    link: &Link,
    feed: Feed,
    news: mpsc::Sender<News>,
    heard: mpsc::Receiver<News>,
) -> anyhow::Result<ExitCode> {
    let size = size()?;
    let painter = Painter::new(stdout(), size.0);
    let mut screen = Screen { link, news, session: Session::default(), input: Input::default(), painter, size, lines: vec![] };
    let raw = RawTerminal::enter()?;
    let feeding = tokio::spawn(feed.follow());
    let end = screen.show(heard, raw).await;
    feeding.abort();
    let code = match end? {
        End::Over => return Ok(ExitCode::SUCCESS),
        End::Failed(error) => return Err(error.into()),
        End::Detached => ExitCode::SUCCESS,
        End::Signalled(signal) => ExitCode::from(128 + signal),
    };
    print(&format!("detached; the agent goes on. `mas attach {}` comes back.", link.id()));
    Ok(code)
}

fn size() -> io::Result<(usize, usize)> {
    let (width, height) = terminal::size()?;
    // Some terminals do not know theirs.
    Ok(if width == 0 || height == 0 { (80, 24) } else { (width.into(), height.into()) })
}

impl Screen<'_> {
    async fn show(&mut self, mut heard: mpsc::Receiver<News>, raw: RawTerminal) -> io::Result<End> {
        let mut raw = Some(raw);
        let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let mut keys = EventStream::new();
        let end = loop {
            self.paint()?;
            tokio::select! {
                news = heard.recv() => {
                    let rest = std::iter::from_fn(|| heard.try_recv().ok()).take(BATCH);
                    let batch: Vec<News> = news.into_iter().chain(rest).collect();
                    if let Some(end) = self.hear(batch) {
                        break end;
                    }
                }
                key = keys.next() => match self.key(key.transpose()?) {
                    Key::Done => {}
                    Key::Leave => break End::Detached,
                    Key::Suspend => {
                        self.painter.clear()?;
                        drop(raw.take());
                        suspend().await?;
                        raw = Some(RawTerminal::enter()?);
                        self.resize()?;
                    }
                },
                _ = terminate.recv() => break End::Signalled(15),
                _ = hang_up.recv() => break End::Signalled(1),
            }
        };
        self.paint()?;
        self.painter.clear()?;
        drop(raw);
        Ok(end)
    }

    fn paint(&mut self) -> io::Result<()> {
        let (width, height) = self.size;
        let frame = frame(&self.session, &self.input, width, height);
        self.painter.paint(&std::mem::take(&mut self.lines), &frame)
    }

    /// Takes in news; how to end when there will be no more.
    fn hear(&mut self, batch: Vec<News>) -> Option<End> {
        let mut end = None;
        for news in batch {
            match news {
                News::Failed(error) => end = Some(End::Failed(error)),
                News::Ended => {
                    self.lines.extend(self.session.take(News::Ended));
                    end = Some(End::Over);
                }
                news => self.lines.extend(self.session.take(news)),
            }
        }
        end
    }

    fn key(&mut self, event: Option<Event>) -> Key {
        match event {
            Some(Event::Key(key)) if key.kind != KeyEventKind::Release => return self.press(key),
            Some(Event::Paste(text)) => self.input.insert(&harmless(&text)),
            Some(Event::Resize(..)) => drop(self.resize()),
            Some(_) => {}
            // Nobody will type anything any more.
            None => return Key::Leave,
        }
        Key::Done
    }

    fn press(&mut self, KeyEvent { code, modifiers, .. }: KeyEvent) -> Key {
        let width = typing_width(self.size.0);
        let input = &mut self.input;
        let (control, alt) = (modifiers.contains(KeyModifiers::CONTROL), modifiers.contains(KeyModifiers::ALT));
        match code {
            KeyCode::Enter if alt || modifiers.contains(KeyModifiers::SHIFT) => input.insert("\n"),
            KeyCode::Enter => return self.enter(),
            KeyCode::Esc => self.interrupt(),
            KeyCode::Up => input.up(width),
            KeyCode::Down => input.down(width),
            KeyCode::Left if control || alt => input.go(To::WordLeft),
            KeyCode::Right if control || alt => input.go(To::WordRight),
            KeyCode::Left => input.go(To::Left),
            KeyCode::Right => input.go(To::Right),
            KeyCode::Home => input.go(To::LineStart),
            KeyCode::End => input.go(To::LineEnd),
            KeyCode::Backspace if control || alt => input.delete(To::WordLeft),
            KeyCode::Backspace => input.delete(To::Left),
            KeyCode::Delete => input.delete(To::Right),
            KeyCode::Tab => input.insert("\t"),
            KeyCode::Char(letter) if control => match letter.to_ascii_lowercase() {
                'c' => return Key::Leave,
                'd' if input.is_empty() => return Key::Leave,
                'd' => input.delete(To::Right),
                'z' => return Key::Suspend,
                'j' => input.insert("\n"),
                'a' => input.go(To::LineStart),
                'e' => input.go(To::LineEnd),
                'b' => input.go(To::Left),
                'f' => input.go(To::Right),
                'u' => input.delete(To::LineStart),
                'k' => input.delete(To::LineEnd),
                'w' => input.delete(To::WordLeft),
                'h' => input.delete(To::Left),
                'p' => input.up(width),
                'n' => input.down(width),
                _ => {}
            },
            KeyCode::Char('b') if alt => input.go(To::WordLeft),
            KeyCode::Char('f') if alt => input.go(To::WordRight),
            KeyCode::Char('d') if alt => input.delete(To::WordRight),
            KeyCode::Char(letter) if !alt => input.insert(&harmless(&letter.to_string())),
            _ => {}
        }
        Key::Done
    }

    fn enter(&mut self) -> Key {
        match Typed::read(&self.input.take()) {
            Typed::Nothing => {}
            Typed::Message(text) => {
                let link = self.link.clone();
                self.ask(async move { Some(link.send(text).await) });
            }
            Typed::Help => self.lines.extend(HELP.map(|row| Line::styled(row, plain()).behind("  ", plain()))),
            Typed::Interrupt => self.interrupt(),
            Typed::Terminate => {
                self.lines.push(remark("ending the agent", warning()));
                let link = self.link.clone();
                self.ask(async move { link.terminate().await });
            }
            Typed::Detach => return Key::Leave,
            Typed::Unknown(name) => {
                let words = format!("there is no command {name}; /help shows them, // sends a text that begins with /");
                self.lines.push(remark(words, faint()));
            }
        }
        Key::Done
    }

    /// Asks for it once, however often the key is pressed.
    fn interrupt(&mut self) {
        if !std::mem::replace(&mut self.session.is_interrupting, true) {
            let link = self.link.clone();
            self.ask(async move { Some(link.interrupt().await) });
        }
    }

    /// Does something at the server, and has its outcome told.
    fn ask(&self, asked: impl Future<Output = Option<Told>> + Send + 'static) {
        let news = self.news.clone();
        tokio::spawn(async move {
            if let Some(told) = asked.await {
                drop(news.send(News::Told(told)).await);
            }
        });
    }

    fn resize(&mut self) -> io::Result<()> {
        self.size = size()?;
        self.painter.resize(self.size.0);
        Ok(())
    }
}

/// Stops us, as the shell expects it of its jobs, until it wakes us.
async fn suspend() -> io::Result<()> {
    let mut woken = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
    kill_current_process_group(Signal::TSTP)?;
    // Another thread may be the one that is told first.
    drop(timeout(STOPPING, woken.recv()).await);
    Ok(())
}
