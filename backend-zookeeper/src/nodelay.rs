//! Makes the library's socket send small requests at once.
//!
//! The library never sets TCP_NODELAY and has no way to its socket (zookeeper-client 0.11.2: `session/connection.rs`), and it
//! writes most requests that are made together one by one. So the second waits in the kernel until the server has
//! answered the first: two round trips. The socket is found among those of this process that came up while the library
//! connected, and set through a duplicate. Where that is not to be had (Linux before 5.6, other systems, containers that
//! forbid `pidfd_getfd`) everything works, only later.

#[cfg(target_os = "linux")]
pub(crate) use linux::Sockets;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Sockets;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::ffi::OsString;
    use std::io;
    use std::net::TcpStream;

    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    /// The sockets of this process at one moment.
    pub(crate) struct Sockets(HashMap<OsString, i32>);

    impl Sockets {
        pub(crate) fn now() -> Self {
            Self(sockets().unwrap_or_default())
        }

        /// Sets the option on sockets that came up since and are connected to this server, a `host:port`.
        pub(crate) fn set_on_new(&self, server: &str) {
            let port = server.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            if let Err(error) = port.map_or(Ok(()), |port| self.set_on_new_to(port)) {
                tracing::debug!(server, %error, "requests may wait for the answers to others");
            }
        }

        fn set_on_new_to(&self, port: u16) -> io::Result<()> {
            let process = pidfd_open(getpid(), PidfdFlags::empty())?;
            for (name, number) in sockets()? {
                if self.0.contains_key(&name) {
                    continue;
                }
                let socket = match pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
                    Ok(socket) => TcpStream::from(socket),
                    // It was closed meanwhile.
                    Err(Errno::BADF) => continue,
                    Err(error) => return Err(error.into()),
                };
                if socket.peer_addr().is_ok_and(|peer| peer.port() == port) {
                    socket.set_nodelay(true)?;
                }
            }
            Ok(())
        }
    }

    /// The numbers of the sockets' descriptors, by the names that the kernel gives to the sockets.
    fn sockets() -> io::Result<HashMap<OsString, i32>> {
        let descriptors = std::fs::read_dir("/proc/self/fd")?.flatten();
        let sockets = descriptors.filter_map(|descriptor| {
            let name = std::fs::read_link(descriptor.path()).ok()?.into_os_string();
            let number = descriptor.file_name().to_str()?.parse().ok()?;
            name.to_str()?.starts_with("socket:").then_some((name, number))
        });
        Ok(sockets.collect())
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// The sockets of this process, of which nothing is known here.
    pub(crate) struct Sockets;

    impl Sockets {
        pub(crate) fn now() -> Self {
            Self
        }

        pub(crate) fn set_on_new(&self, _server: &str) {}
    }
}
