//! Everything that this process started, and what that started in turn. Orphans are adopted by this process, if it is a
//! subreaper (prctl(2)), so that nothing gets away but what another user's process protects.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, pidfd_open, pidfd_send_signal, wait,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::output;
use crate::terminal::printable;

/// Those who descend from this process.
#[derive(Debug, Default)]
pub(crate) struct Descendants {
    /// Those that may not be signalled, of whom has been told.
    refused: HashSet<Pid>,
}

impl Descendants {
    /// Sends a signal to all. Of those that may not be signalled (they run as another user) it is told once, with what
    /// follows from that.
    pub(crate) fn signal(&mut self, signal: Signal, otherwise: &str) {
        if let Err(error) = self.try_signal(signal, otherwise) {
            output::diagnostic(format_args!("cannot find out what the program started: {error}"));
        }
    }

    fn try_signal(&mut self, signal: Signal, otherwise: &str) -> io::Result<()> {
        let mut reached = HashSet::new();
        // Once more for those that changed their parent, or were started, meanwhile. No more often: a program that goes
        // on starting others would keep us here.
        for _ in 0..2 {
            for (pid, parent) in descendants()? {
                match (!reached.contains(&pid)).then(|| send(pid, parent, signal)) {
                    Some(Ok(true)) => drop(reached.insert(pid)),
                    Some(Err(Errno::PERM | Errno::ACCESS)) if self.refused.insert(pid) => {
                        let name = printable(&name(pid));
                        output::diagnostic(format_args!(
                            "process {pid} ({name}) may not be signalled, as it runs as another user: {otherwise}"
                        ));
                    }
                    None | Some(Ok(false) | Err(_)) => {}
                }
            }
        }
        Ok(())
    }

    /// Kills all, and returns when none is left.
    pub(crate) async fn end(&mut self, otherwise: &str) -> io::Result<()> {
        const LONGEST: Duration = Duration::from_secs(1);
        let mut children = signal(SignalKind::child())?;
        let mut pause = Duration::from_millis(5);
        while reap(|_, _| {})? {
            self.signal(Signal::KILL, otherwise);
            tokio::select! {
                // What it had started is a child of ours now.
                _ = children.recv() => {}
                () = tokio::time::sleep(pause) => pause = LONGEST.min(2 * pause),
            }
        }
        Ok(())
    }
}

/// Takes note of the children that ended, adopted ones too; false if there are no others.
pub(crate) fn reap(mut ended: impl FnMut(Pid, WaitStatus)) -> io::Result<bool> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended(pid, status),
            Ok(None) => return Ok(true),
            Err(Errno::CHILD) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends a signal to this child of that parent; false if it is none any more.
///
/// By the time that a signal is sent, the number of a process that ended may be a stranger's. The handle is that of one
/// process for ever, and whose child that is, is asked after the handle is had.
fn send(pid: Pid, parent: Pid, signal: Signal) -> Result<bool, Errno> {
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    if parent_of(pid) != Some(parent) {
        return Ok(false);
    }
    pidfd_send_signal(handle, signal)?;
    Ok(true)
}

/// The descendants of this process, each with its parent.
fn descendants() -> io::Result<Vec<(Pid, Pid)>> {
    let mut parents = HashMap::new();
    for process in fs::read_dir("/proc")? {
        let pid = process?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        parents.extend(pid.and_then(|pid| Some((pid, parent_of(pid)?))));
    }
    let ours = getpid();
    let descends = |pid: Pid| {
        let ancestors = std::iter::successors(parents.get(&pid), |parent| parents.get(parent));
        // What was read one after the other may contradict itself, and go round in a circle.
        ancestors.take(parents.len()).any(|ancestor| *ancestor == ours)
    };
    Ok(parents.iter().map(|(pid, parent)| (*pid, *parent)).filter(|(pid, _)| descends(*pid)).collect())
}

/// Which process this is a child of.
pub(crate) fn parent_of(pid: Pid) -> Option<Pid> {
    // 0 if it is one of another namespace.
    Pid::from_raw(stat(pid, 4)?.try_into().ok()?)
}

/// What the system tells of a process, by its number in proc_pid_stat(5), from 4 on.
pub(crate) fn stat(pid: Pid, number: usize) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn name(pid: Pid) -> String {
    fs::read(format!("/proc/{pid}/comm"))
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .unwrap_or_default()
}
