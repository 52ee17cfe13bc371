//! What `fairlock run` and the guardian of its program say to one another, over a socket that ends with either of them.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

/// What the guardian is told first, together with the open files, and tells the program: it may start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    /// What the program finds in its environment of the lock.
    pub(crate) variables: Vec<(String, String)>,
    /// Until when the lock is sure to be held; `None`: until it is given back.
    pub(crate) held: Option<Moment>,
    /// Whether the program gets no open file that keeps the lock.
    pub(crate) close: bool,
}

/// What the guardian is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Until when the lock is sure to be held; `None`: until it is given back.
    Held(Option<Moment>),
    /// This signal came.
    Signal(i32),
    /// This signal came to all in the process group, such as that of a key: to the program as well, if it has not left.
    Shared(i32),
    /// The report is taken for the end; the lock is given back next.
    Agreed,
}

/// What the guardian answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program ended, and all that had to end with it.
    Exited {
        /// As wait(2) has it.
        status: i32,
        /// Whether a signal had asked for that, as far as the guardian knew.
        asked: bool,
    },
    /// The program was ended, because its lock was lost or about to be.
    Revoked,
}

/// A point in time, since the machine was booted: the same for all processes, and it goes on while the machine sleeps.
pub(crate) type Moment = Duration;

/// The present.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    // Both are positive: the clock starts at boot.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// One end.
#[derive(Debug)]
pub(crate) struct Link {
    received: Lines<BufReader<tokio::net::UnixStream>>,
    sent: UnixStream,
}

impl Link {
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let sent = socket.try_clone()?;
        let received = BufReader::new(tokio::net::UnixStream::from_std(socket)?).lines();
        Ok(Self { received, sent })
    }

    /// The next message; `None` when the other side is gone.
    pub(crate) async fn next<M: DeserializeOwned>(&mut self) -> Option<M> {
        let line = self.received.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    /// Sends a message. What cannot be sent is for nobody: the other side is gone, or stopped since hundreds of messages.
    pub(crate) fn send(&self, message: &impl Serialize) {
        // The runtime's own way to write may refuse before it has waited once.
        send(&self.sent, message);
    }
}

/// Sends a message.
pub(crate) fn send(mut socket: &UnixStream, message: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(message) {
        let _ = socket.write(format!("{line}\n").as_bytes());
    }
}

/// How many open files one message brings at most.
pub(crate) const SHARED: usize = 32;

/// Gives the other side open files, before anything else.
pub(crate) fn share(socket: &UnixStream, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SHARED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Open files travel with a byte at least.
    sendmsg(socket, &[IoSlice::new(b"-")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The open files that the other side gives. Programs that this process executes don't inherit them.
pub(crate) fn shared(socket: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SHARED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    Ok(files.flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[tokio::test]
    async fn files_come_before_messages() {
        let (one, two) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        share(&one, &[writer.as_fd()]).unwrap();
        drop(writer);
        let one = Link::new(one).unwrap();
        one.send(&Order::Held(None));
        one.send(&Order::Signal(15));

        let [file] = shared(&two).unwrap().try_into().unwrap();
        write!(File::from(file), "through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        let mut two = Link::new(two).unwrap();
        assert!(matches!(two.next().await, Some(Order::Held(None))));
        assert!(matches!(two.next().await, Some(Order::Signal(15))));
        drop(one);
        assert!(two.next::<Order>().await.is_none());
    }
}
