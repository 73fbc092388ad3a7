//! One start of the client: reads its output, looks at ourselves through it, and says why it is over.

use super::{
    PATIENCE, Settings,
    account::Account,
    check::{Verdict, check},
    client::{Client, Said},
};
use crate::{
    model::id::ProcessId,
    process::{ExitRecord, Launched, Launcher, Lifeline, Liveness, ProcessDir, Spec, Tail, TailBatch, Watcher, leftovers},
};
use futures::future::{BoxFuture, FutureExt};
use reqwest::Url;
use std::{io, time::Duration};
use tokio::time::{Instant, sleep_until};

/// A client that wrote this much is started again with new files.
const MOST_OUTPUT: u64 = 64 << 20;
/// Between the wish to stop and the kill.
const STOP_GRACE_MS: u64 = 2_000;
/// Most URLs of a client that are tried.
const CANDIDATES: usize = 8;
/// The longest wait for an answer through the tunnel.
const CHECK_LIMIT: u64 = 10;
/// Between looks through a tunnel that was not up yet.
const EAGER: u64 = 5;

pub(super) struct Incarnation<'a> {
    pub(super) settings: &'a Settings,
    pub(super) client: &'a Client,
    pub(super) launcher: &'a Launcher,
    pub(super) watcher: &'a Watcher,
    /// Whether a name other than the one asked for will do.
    pub(super) takes_any_name: bool,
}

/// How it ended.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) failure: String,
    /// When there is more to do than to wait.
    pub(super) next_step: Option<String>,
    /// The service named another subdomain than the one asked for.
    pub(super) name_refused: bool,
    /// It named the one asked for.
    pub(super) granted: bool,
}

/// What is known of a running client.
struct Course {
    /// The URLs it named until the gateway was reached by one of them: a client may greet with links of its own.
    candidates: Vec<Url>,
    /// The one that is looked at.
    current: usize,
    refused: Option<Url>,
    granted: bool,
    was_up: bool,
    failures: u32,
    /// Until when the gateway must have been reached.
    deadline: Instant,
}

type Check = BoxFuture<'static, Verdict>;

impl Incarnation<'_> {
    /// Runs the client until it is of no use any more. Dropping the future stops the client.
    pub(super) async fn run(&self, account: &mut Account) -> End {
        if let Some((failure, how)) = self.client.missing(&self.settings.env) {
            let next_step = format!("On the gateway's machine, {how}; the client is then started by itself.");
            return End { failure, next_step: Some(next_step), ..End::default() };
        }
        let dir = ProcessDir::new(&self.settings.data.tunnel(), ProcessId::generate());
        let (lifeline, end) = match self.launch(&dir).await {
            Err(failure) => return End { failure, ..End::default() },
            Ok(lifeline) => match self.follow(&dir, account).await {
                Ok(end) => (lifeline, end),
                Err(error) => {
                    (lifeline, End { failure: format!("the client's output cannot be read: {error}"), ..End::default() })
                }
            },
        };
        drop(lifeline);
        if let Err(error) = leftovers::end(&dir).await {
            tracing::warn!(%error, "the tunnel client could not be ended");
        }
        end
    }

    async fn launch(&self, dir: &ProcessDir) -> Result<Lifeline, String> {
        let spec = Spec {
            argv: self.client.argv.clone(),
            // The server's own: a command means the same as where the server was started.
            cwd: std::path::absolute(".").map_err(|error| format!("the working directory is not known: {error}"))?,
            deadline: None,
            max_output_bytes: MOST_OUTPUT,
            max_memory_bytes: None,
            max_processes: None,
            stop_grace_ms: STOP_GRACE_MS,
        };
        match self.launcher.launch_tied(dir, spec, &self.settings.env).await {
            Ok((Launched::Running(_), Some(lifeline))) => Ok(lifeline),
            Ok((Launched::Failed(exit), _)) => Err(exit.detail.unwrap_or_else(|| "the client cannot be started".into())),
            Ok((Launched::Running(_), None)) => Err("the client was started without a lifeline".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn follow(&self, dir: &ProcessDir, account: &mut Account) -> io::Result<End> {
        let mut stdout = Tail::open(dir, 0, self.watcher.watch(dir)).await?;
        let mut stderr = Tail::open_stderr(dir, self.watcher.watch(dir)).await?;
        let mut stderr_open = true;
        let mut course = Course {
            candidates: vec![],
            current: 0,
            refused: None,
            granted: false,
            was_up: false,
            failures: 0,
            deadline: self.deadline(),
        };
        let mut looking: Check = futures::future::pending().boxed();
        loop {
            let waits_for_url = course.candidates.is_empty();
            let lines = tokio::select! {
                batch = stdout.next() => match batch? {
                    TailBatch::Lines { lines, .. } => lines,
                    TailBatch::End { exit, .. } => return Ok(course.end(exit_words(&exit))),
                    TailBatch::Vanished { .. } => return Ok(course.end("the client and its shim were killed".into())),
                },
                batch = stderr.next(), if stderr_open => {
                    if let TailBatch::Lines { lines, .. } = batch? {
                        lines
                    } else {
                        stderr_open = false;
                        continue;
                    }
                }
                verdict = &mut looking => {
                    let verdict = self.tell(&course, verdict, account);
                    if let Some(failure) = course.judge(&verdict) {
                        // Why it has ended says more than that nobody answers.
                        let exit = if let Ok(Liveness::Exited(exit)) = dir.inspect() { Some(exit) } else { None };
                        return Ok(course.end(exit.as_ref().map_or(failure, exit_words)));
                    }
                    looking = self.look(&course, self.pause(&course));
                    continue;
                }
                () = sleep_until(course.deadline), if waits_for_url => return Ok(course.end(self.silence(&course))),
            };
            for line in lines {
                match self.client.read(&line) {
                    // Not after the gateway was reached: a later one may be of somebody who writes into the client's log.
                    Said::Url(url) if !course.was_up && course.is_new(&url) => {
                        let lost = self.client.has_lost(&url);
                        let is_first = course.candidates.is_empty();
                        if lost && !self.takes_any_name {
                            if !is_first {
                                continue;
                            }
                            let failure = "the tunnel service did not grant the subdomain that was asked for; it is asked again";
                            return Ok(End { name_refused: true, ..course.end(failure.into()) });
                        }
                        course.candidates.push(url);
                        course.granted |= !lost;
                        if is_first {
                            course.deadline = self.deadline();
                            looking = self.look(&course, Duration::ZERO);
                        }
                    }
                    Said::NotEncrypted(url) if course.candidates.is_empty() => {
                        course.refused = Some(url);
                        if self.client.names_one_url() {
                            return Ok(course.end(self.silence(&course)));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.settings.tunnel.start_timeout_seconds)
    }

    /// Puts a look on the account, as what it means there.
    fn tell(&self, course: &Course, verdict: Verdict, account: &mut Account) -> Verdict {
        let Some(url) = course.url() else { return verdict };
        let verdict = match verdict {
            Verdict::Ours => {
                if !course.was_up {
                    account.found(url, self.client.has_lost(url));
                }
                Verdict::Ours
            }
            // Nobody was told of this URL: it may as well be a link to somebody's documentation.
            Verdict::Unreachable(failure) | Verdict::Foreign(failure) if !course.was_up && !account.has_told(url) => {
                Verdict::Unreachable(format!("{url} was named by the client, and the gateway is not reached by it: {failure}"))
            }
            other => other,
        };
        account.checked(&verdict);
        verdict
    }

    fn pause(&self, course: &Course) -> Duration {
        let interval = self.settings.tunnel.check_interval_seconds;
        let has_more = usize::try_from(course.failures).is_ok_and(|failures| failures < course.candidates.len());
        match course.was_up {
            true => Duration::from_secs(interval),
            // One that was not tried yet.
            false if has_more => Duration::ZERO,
            false => Duration::from_secs(interval.min(EAGER)),
        }
    }

    /// Looks at ourselves through the tunnel, after a pause.
    fn look(&self, course: &Course, pause: Duration) -> Check {
        let Some(url) = course.url().cloned() else { return futures::future::pending().boxed() };
        let instance = self.settings.instance.clone();
        let limit = Duration::from_secs(self.settings.tunnel.check_interval_seconds.clamp(1, CHECK_LIMIT));
        async move {
            tokio::time::sleep(pause).await;
            check(&url, &instance, limit).await
        }
        .boxed()
    }

    /// Why there is no URL.
    fn silence(&self, course: &Course) -> String {
        course.refused.as_ref().map_or_else(
            || format!("the client named no public https URL within {} s", self.settings.tunnel.start_timeout_seconds),
            |url| format!("the client named {url}, which is refused: without https, keys and answers could be read on the way"),
        )
    }
}

impl Course {
    fn url(&self) -> Option<&Url> {
        self.candidates.get(self.current)
    }

    fn is_new(&self, url: &Url) -> bool {
        self.candidates.len() < CANDIDATES && !self.candidates.contains(url)
    }

    fn end(&self, failure: String) -> End {
        End { failure, granted: self.granted, ..End::default() }
    }

    /// Counts, and goes on to the next candidate while none was ours; the reason to give the client up, if there is one.
    fn judge(&mut self, verdict: &Verdict) -> Option<String> {
        let failure = match verdict {
            Verdict::Ours => {
                (self.was_up, self.failures) = (true, 0);
                return None;
            }
            Verdict::Unreachable(failure) | Verdict::Foreign(failure) => failure,
        };
        self.failures += 1;
        if !self.was_up {
            self.current = (self.current + 1) % self.candidates.len().max(1);
        }
        let is_over = if self.was_up { self.failures >= PATIENCE } else { Instant::now() >= self.deadline };
        is_over.then(|| failure.clone())
    }
}

fn exit_words(exit: &ExitRecord) -> String {
    match (exit.code, exit.signal, &exit.detail) {
        (_, _, Some(detail)) => format!("the client was ended: {detail}"),
        (Some(code), ..) => format!("the client exited with code {code}"),
        (None, Some(signal), None) => format!("the client was ended by signal {signal}"),
        (None, None, None) => "the client ended".into(),
    }
}
