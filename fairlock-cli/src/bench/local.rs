//! The processor time of a server on this machine that does not tell it, from proc(5).

use std::fs;
use std::path::{Path, PathBuf};

/// Seconds that the process has used which listens at this address; `None` if that is not on this machine or not ours to see.
pub(super) fn cpu(server: &str) -> Option<f64> {
    Some(used(&listening(server)?))
}

/// The same for a server that has a process for each connection: of those that live.
#[cfg(feature = "postgres")]
pub(super) fn cpu_with_children(server: &str) -> Option<f64> {
    let server = listening(server)?;
    let pid = server.file_name()?.to_str()?.to_owned();
    let is_child = |process: &PathBuf| {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        // Behind the name, which may have anything in it: the state, and the parent.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(pid.as_str())
    };
    let children = entries(Path::new("/proc")).filter(is_child);
    Some(used(&server) + children.map(|child| used(&child)).sum::<f64>())
}

/// The process that listens at this address.
fn listening(server: &str) -> Option<PathBuf> {
    let (host, port) = server.rsplit_once(':')?;
    if !(host == "localhost" || host == "[::1]" || host.starts_with("127.")) {
        return None;
    }
    let socket = format!("socket:[{}]", listener(port.parse().ok()?)?);
    owner(&socket)
}

/// Seconds that all threads of a process have used.
fn used(process: &Path) -> f64 {
    let used = |thread: PathBuf| {
        let told = fs::read_to_string(thread.join("schedstat")).ok()?;
        told.split(' ').next()?.parse::<f64>().ok()
    };
    entries(&process.join("task")).filter_map(used).sum::<f64>() / 1e9
}

/// The inode of the socket that listens on this port.
fn listener(port: u16) -> Option<String> {
    /// The state of a socket that listens.
    const LISTEN: &str = "0A";
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let port = format!(":{port:04X}");
    tables.iter().flat_map(|table| table.lines()).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTEN;
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

/// The process that has this socket open.
fn owner(socket: &str) -> Option<PathBuf> {
    let has = |process: &PathBuf| {
        entries(&process.join("fd"))
            .any(|file| fs::read_link(file).is_ok_and(|link| link == Path::new(socket)))
    };
    entries(Path::new("/proc")).find(has)
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::cpu;

    #[test]
    fn the_time_of_whoever_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        assert!(cpu(&address).is_some_and(|seconds| seconds > 0.0));
        drop(listener);
        assert_eq!(cpu(&address), None);
        assert_eq!(cpu("192.0.2.1:1"), None);
    }
}
