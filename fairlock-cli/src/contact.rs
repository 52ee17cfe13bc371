//! How the commands of one user on one machine find each other: by sockets whose names are there only while somebody listens
//! (unix(7), abstract names).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use crate::link::Link;

/// Somebody who can be called.
#[derive(Debug)]
pub(crate) struct Contact {
    listener: tokio::net::UnixListener,
}

impl Contact {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)? })
    }

    /// The next call of this user. Anybody can call; others are not listened to.
    pub(crate) async fn next(&self) -> io::Result<Link> {
        loop {
            let caller = self.listener.accept().await?.0.into_std()?;
            if is_ours(&caller)? {
                return Link::new(caller);
            }
        }
    }
}

/// Calls who listens there; `None` if nobody does, or another user.
pub(crate) fn call(name: &str) -> io::Result<Option<Link>> {
    match UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?) {
        Ok(called) if is_ours(&called)? => Link::new(called).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_ours(peer: &UnixStream) -> io::Result<bool> {
    Ok(socket_peercred(peer)?.uid == geteuid())
}

/// The names of those who listen, as far as they begin like this (proc_net(5): a name is the last word of a line).
pub(crate) fn listed(prefix: &str) -> io::Result<Vec<String>> {
    let sockets = std::fs::read_to_string("/proc/net/unix")
        .map_err(|error| io::Error::new(error.kind(), format!("/proc/net/unix cannot be read: {error}")))?;
    let names = sockets.lines().filter_map(|line| line.split_whitespace().last()?.strip_prefix('@'));
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
    // One line for each connection as well.
    names.sort();
    names.dedup();
    Ok(names)
}
