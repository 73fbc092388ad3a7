//! Containment: finding and killing everything an agent started, whatever it did to hide.

use super::{MARKER_VARIABLE, dir::ProcessDir};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, pidfd_send_signal, wait},
};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a kill goes on before what is left is reported as unkillable.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const KILL_STEP: Duration = Duration::from_millis(10);

/// The cgroup below which agents can have theirs: our own, if it is of version 2 and lets us make and kill children.
/// Tried once, at start.
pub fn cgroup_parent() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let parent = own_cgroup(&mounts, &membership)?;
    let probe = parent.join(format!("mas-probe-{}", std::process::id()));
    fs::create_dir(&probe).ok()?;
    let usable = probe.join("cgroup.kill").exists();
    fs::remove_dir(&probe).ok()?;
    usable.then_some(parent)
}

fn own_cgroup(mounts: &str, membership: &str) -> Option<PathBuf> {
    let (root, mount) = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        (kind.split(' ').next() == Some("cgroup2")).then_some(())?;
        Some((place.next()?, place.next()?))
    })?;
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    // The mount may show a part of the hierarchy only; a path outside of it starts with `/..`.
    let below = Path::new(own).strip_prefix(root).ok()?;
    let mount = mount.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    (!below.starts_with("..")).then(|| Path::new(&mount).join(below))
}

/// All that belongs to one process, by the three ways of finding it.
pub(super) struct Tree<'a> {
    pub(super) marker: &'a str,
    pub(super) cgroup: Option<&'a Path>,
    /// Whether orphans become our children and all our children are the agent's: true in the shim.
    pub(super) adopts: bool,
}

/// What a kill achieved.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Killed {
    pub(super) killed: u32,
    pub(super) left: u32,
}

impl Tree<'_> {
    /// Kills until nothing is left. `reaped` gets the status of each child that is collected on the way.
    pub(super) fn kill(&self, mut reaped: impl FnMut(Pid, WaitStatus)) -> Killed {
        let limit = Instant::now() + KILL_LIMIT;
        // Adopted children cannot slip through: a dead one is listed until collected, and its own are ours by then. A
        // scan of all processes can miss one that forks at that moment, so it has to come out empty thrice.
        let needed = if self.adopts { 1 } else { 3 };
        let (mut seen, mut quiet) = (HashSet::new(), 0);
        loop {
            if self.adopts {
                reap(&mut reaped);
            }
            let mut members: HashSet<Pid> = HashSet::new();
            if let Some(cgroup) = self.cgroup {
                members.extend(cgroup_members(cgroup));
                if !members.is_empty() {
                    // Atomic against forks: whoever is born during the kill dies too.
                    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
                }
            }
            let (relatives, is_sure) = self.relatives();
            for (pid, proof) in relatives {
                kill_proven(pid, &proof, self.marker);
                members.insert(pid);
            }
            let before = seen.len();
            seen.extend(&members);
            quiet = if members.is_empty() { quiet + u32::from(is_sure) } else { 0 };
            if quiet == needed || Instant::now() >= limit {
                self.remove_cgroup();
                let count = |set: &HashSet<Pid>| u32::try_from(set.len()).unwrap_or(u32::MAX);
                return Killed { killed: count(&seen), left: count(&members) };
            }
            // New faces mean that something is forking: look again at once.
            if seen.len() == before {
                std::thread::sleep(KILL_STEP);
            }
        }
    }

    /// Marked processes and descendants, each with the reason why it is one of ours, and whether there is surely no other.
    fn relatives(&self) -> (Vec<(Pid, Proof)>, bool) {
        let own = rustix::process::getpid();
        let mut is_sure = true;
        let mut found: Vec<(Pid, Proof)> = Vec::new();
        let mut known = HashSet::from([own]);
        if self.adopts {
            found.extend(children(own).into_iter().filter(|pid| known.insert(*pid)).map(|pid| (pid, Proof::ChildOf(own))));
        }
        for pid in all_processes() {
            match has_marker(pid, self.marker) {
                Some(true) if known.insert(pid) => found.push((pid, Proof::Marker)),
                Some(_) => {}
                None => is_sure = false,
            }
        }
        let mut next = 0;
        while let Some((parent, _)) = found.get(next) {
            let parent = *parent;
            found.extend(children(parent).into_iter().filter(|pid| known.insert(*pid)).map(|pid| (pid, Proof::ChildOf(parent))));
            next += 1;
        }
        (found, is_sure)
    }

    fn remove_cgroup(&self) {
        let Some(cgroup) = self.cgroup else { return };
        // The last member leaves a moment after it is dead.
        for _ in 0..20 {
            if remove_cgroup_tree(cgroup) {
                return;
            }
            std::thread::sleep(KILL_STEP);
        }
    }
}

enum Proof {
    Marker,
    ChildOf(Pid),
}

/// Collects every dead child there is.
pub(super) fn reap(mut reaped: impl FnMut(Pid, WaitStatus)) {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => reaped(pid, status),
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// Kills `pid` unless the number has meanwhile gone to somebody else.
fn kill_proven(pid: Pid, proof: &Proof, marker: &str) {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => {
            let holds = match proof {
                Proof::Marker => has_marker(pid, marker) == Some(true),
                Proof::ChildOf(parent) => parent_of(pid) == Some(*parent),
            };
            if holds {
                let _ = pidfd_send_signal(fd, Signal::KILL);
            }
        }
        Err(Errno::NOSYS) => {
            let _ = kill_process(pid, Signal::KILL);
        }
        Err(_) => {}
    }
}

fn all_processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| parse_pid(entry.file_name().to_str()?)).collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// Whether the marker is in the environment of `pid`; absent when it has none yet because it is executing a program just now,
/// which takes a while on a busy machine.
fn has_marker(pid: Pid, marker: &str) -> Option<bool> {
    let wanted = format!("{MARKER_VARIABLE}={marker}");
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return Some(false) };
    if environment.is_empty() && is_executing(pid) {
        return None;
    }
    Some(environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

/// Whether `pid`, whose environment is empty, has been given a new address space, and not yet an environment in it:
/// `env_end` (field 51 of `/proc/PID/stat`) is 0, and it is neither dead nor a kernel thread (`PF_KTHREAD` in field 9).
fn is_executing(pid: Pid) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let Some(fields) = stat_fields(pid.as_raw_pid().unsigned_abs()) else { return false };
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let is_alive = !matches!(fields.first().map(String::as_str), Some("Z" | "X"));
    is_alive && number(51) == Some(0) && number(9).is_some_and(|flags| flags & PF_KTHREAD == 0)
}

/// Children, their children and so on.
pub(super) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let (mut known, mut parents) = (HashSet::from([ancestor]), vec![ancestor]);
    while let Some(parent) = parents.pop() {
        for pid in children(parent).into_iter().filter(|pid| known.insert(*pid)) {
            found.push(pid);
            parents.push(pid);
        }
    }
    found
}

/// Children are listed with the thread that forked them.
fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(parse_pid).collect::<Vec<_>>()).collect()
}

/// Fields of `/proc/PID/stat` after the name, which may contain anything; the first is the state (field 3).
pub(super) fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

fn parent_of(pid: Pid) -> Option<Pid> {
    parse_pid(stat_fields(pid.as_raw_pid().unsigned_abs())?.get(1)?)
}

/// Members of a cgroup and of those below it.
pub(super) fn cgroup_members(cgroup: &Path) -> Vec<Pid> {
    let list = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut members: Vec<Pid> = list.lines().filter_map(parse_pid).collect();
    for below in directories(cgroup) {
        members.extend(cgroup_members(&below));
    }
    members
}

fn remove_cgroup_tree(cgroup: &Path) -> bool {
    for below in directories(cgroup) {
        remove_cgroup_tree(&below);
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Whether `pid` is in `cgroup`; also true of one that has died there and was not collected.
pub(super) fn is_in_cgroup(pid: u32, cgroup: &Path) -> bool {
    let name = cgroup.file_name().unwrap_or_default().to_string_lossy();
    fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .is_ok_and(|list| list.lines().any(|line| line.starts_with("0::") && line.contains(&*name)))
}

/// Kills every process that carries this marker, and its descendants.
pub async fn kill_marked(marker: String) -> io::Result<u32> {
    let killing = move || Tree { marker: &marker, cgroup: None, adopts: false }.kill(|_, _| {});
    match tokio::task::spawn_blocking(killing).await.map_err(io::Error::other)? {
        Killed { killed, left: 0 } => Ok(killed),
        Killed { killed, left } => Err(io::Error::other(format!("{left} of {killed} processes could not be killed"))),
    }
}

/// Kills what a vanished shim left behind and says how many that were. Refused while the shim lives.
pub async fn kill_leftovers(dir: &ProcessDir) -> io::Result<u32> {
    let dir = dir.clone();
    tokio::task::spawn_blocking(move || {
        if dir.is_locked()? {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the process is still supervised"));
        }
        let Some(stored) = dir.stored_spec()? else { return Ok(0) };
        let cgroup = stored.cgroup().filter(|cgroup| cgroup.exists());
        let tree = Tree { marker: &stored.marker, cgroup: cgroup.as_deref(), adopts: false };
        let Killed { killed, left } = tree.kill(|_, _| {});
        if left > 0 {
            return Err(io::Error::other(format!("{left} of {killed} processes could not be killed")));
        }
        Ok(killed)
    })
    .await
    .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_cgroup_in_the_mount_that_shows_it() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(own_cgroup(hybrid, "4:memory:/x\n0::/"), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(own_cgroup(hybrid, "0::/a/b.service"), Some("/sys/fs/cgroup/unified/a/b.service".into()));
        let container = "41 31 0:38 /docker/1 /sys/fs/my\\040cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(own_cgroup(container, "0::/docker/1/x"), Some("/sys/fs/my cgroup/x".into()));
        assert_eq!(own_cgroup(container, "0::/elsewhere"), None);
        assert_eq!(own_cgroup(hybrid, "0::/../outside"), None);
        assert_eq!(own_cgroup("31 23 0:28 / /sys rw - tmpfs tmpfs rw", "0::/"), None);
        assert_eq!(own_cgroup(hybrid, "4:memory:/x"), None);
    }

    #[test]
    fn only_a_process_without_an_environment_of_its_own_yet_is_in_doubt() {
        use std::{
            io::{Read, Write},
            process::{Command, Stdio},
        };
        #[expect(clippy::disallowed_methods, reason = "a process that is none of an agent's")]
        let mut cat = Command::new("cat").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let pid = parse_pid(&cat.id().to_string()).expect("a number");
        // Until it answers, it may be at any step of its beginning.
        let mut input = cat.stdin.take().expect("piped");
        input.write_all(b"x").expect("writes");
        cat.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("reads");
        assert_eq!(has_marker(pid, "proc_x"), Some(false), "an empty environment is one");
        drop(input);
        cat.wait().expect("ends");
        assert_eq!(has_marker(pid, "proc_x"), Some(false), "nobody is not in doubt");
    }

    #[test]
    fn an_unknown_marker_kills_nobody() {
        let tree = Tree { marker: "proc_that_never_was", cgroup: None, adopts: false };
        assert_eq!(tree.kill(|_, _| {}), Killed::default());
    }
}
