//! Operating-system processes: starting agents' CLIs, talking to them, and making sure that nothing of them stays.
//!
//! # Theory of operation
//!
//! An agent has to survive the server, and nothing of an agent may survive its end. Both follow from one small process
//! per incarnation, the **shim** ([`shim::run`], `mas __shim DIR`), which alone owns the CLI's stdin, stdout and stderr:
//!
//! ```text
//! server ──FIFO──▶ shim ──pipe──▶ CLI          each box may die alone:
//!    ▲              │ ◀──pipes──   │            server: shim and CLI work on, output accumulates in files
//!    └──── files ◀──┘              └─ tools     shim:   the kernel kills the CLI; `kill_leftovers` clears its tools
//! ```
//!
//! * All state is in a directory ([`ProcessDir`]). `spec.json` says what to run, `started.json` and `exit.json` what came
//!   of it, `stdout` and `stderr` hold the output. The shim holds `lock` for as long as it lives, so `exit.json`, the lock
//!   and `started.json`, read in that order, tell the truth after any crash ([`ProcessDir::inspect`]).
//! * Input is line based. The shim logs each line to `stdin.log` before it acts on it, forwards whole JSON objects only
//!   and obeys lines that start with `!`. Half a line from a killed server therefore never reaches the CLI.
//! * Containment is threefold, because CLIs put their tools into sessions of their own: a cgroup where one can be made;
//!   adoption (the shim is a child subreaper, so orphans become its children); and a marker variable in the environment,
//!   which also finds what outlived the shim.
//! * Limits are the shim's work, since the server may be away: deadline, size of the output, memory and number of the
//!   processes, patience with a full disk. The server can move the deadline by a line of input; `spec.json` keeps the first
//!   one. Memory is the kernel's to limit where the cgroup has that controller; else the shim looks twice a second.
//! * A helper that must not outlive the server, such as a tunnel, is tied to it ([`Launcher::launch_tied`]): the shim's stdin is
//!   a pipe that the kernel closes when the server ends, and the shim then stops the helper. See [`Lifeline`].
//! * The server learns of news through one inotify instance ([`Watcher`]) and reads complete lines by offset ([`Tail`]);
//!   the offset is its only state, so it can stop and go on anywhere.
//!
//! The files of a directory, mode 0600 below a directory of mode 0700:
//!
//! | file | writer | content |
//! |---|---|---|
//! | `spec.json` | server | argv, cwd, limits, marker; never the environment |
//! | `stdin` | server | FIFO |
//! | `stdin.log` | shim | every line taken from the FIFO |
//! | `stdout`, `stderr` | shim | output as it came, append-only; stderr up to 1 MiB |
//! | `started.json`, `exit.json` | shim | facts, each written whole or not at all |
//! | `lock` | shim | locked while the shim lives |
//! | `shim.log` | shim | what it has to say about itself |
//! | any other | server | a file for the CLI, given at the launch |

mod background;
mod command;
mod dir;
mod find;
mod input;
pub mod leftovers;
mod lifeline;
mod limits;
pub mod lock;
mod record;
mod session;
pub mod shim;
mod shim_io;
mod signals;
mod spawn;
mod tail;
pub mod tree;
mod usage;
mod watch;

pub use background::start_background;
pub use command::{CommandError, CommandOutput, run_command};
pub use dir::{Liveness, ProcessDir};
pub use find::find_program;
pub use input::{Input, MAX_LINE_BYTES};
pub use lifeline::Lifeline;
pub use record::{ExitReason, ExitRecord, Spec, Started};
pub use spawn::{LaunchError, Launched, Launcher};
pub use tail::{Tail, TailBatch};
pub use tree::{kill_leftovers, kill_marked};
pub use usage::{ProcessFacts, TreeFacts, process_facts, tree_facts};
pub use watch::{DirWatch, Watcher};

/// Environment variable by which processes of an agent are recognised; its value is the process id.
pub const MARKER_VARIABLE: &str = "MAS_PROCESS_MARKER";
