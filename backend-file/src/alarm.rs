//! Wake-ups by inotify: the kernel tells when a file is removed, or closed by its owner.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Only its owner opens an entry for writing: a close means that the owner is gone. Others open it all the time, to see
/// whether it is locked.
const GONE: WatchMask =
    WatchMask::CLOSE_WRITE.union(WatchMask::ATTRIB).union(WatchMask::DELETE_SELF).union(WatchMask::MOVE_SELF);

/// The alarms of one session.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    state: Mutex<State>,
}

/// The system allows a user some 128 instances: a session that never waits takes none.
#[derive(Debug, Default)]
enum State {
    #[default]
    Unused,
    Listening(Listener),
    Refused,
}

#[derive(Debug)]
struct Listener {
    watches: Watches,
    bells: Arc<Mutex<Bells>>,
    task: AbortHandle,
}

type Bells = HashMap<WatchDescriptor, watch::Sender<()>>;

impl Alarms {
    /// A bell that rings when something happens to this file from now on; `None` if the file is not there, or the system
    /// gives no alarm.
    pub(crate) fn arm(&self, path: &Path) -> Option<Bell> {
        let mut state = lock(&self.state);
        if let State::Unused = *state {
            *state = listen().map_or_else(
                |error| {
                    tracing::info!(%error, "no inotify: waiters look again and again");
                    State::Refused
                },
                State::Listening,
            );
        }
        match &*state {
            State::Listening(listener) => listener.arm(path).ok(),
            State::Unused | State::Refused => None,
        }
    }
}

#[cfg(test)]
impl Alarms {
    /// As if the system had refused.
    pub(crate) fn refused() -> Self {
        Self { state: Mutex::new(State::Refused) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen() -> io::Result<Listener> {
    let inotify = Inotify::init()?;
    let (watches, bells) = (inotify.watches(), Arc::<Mutex<Bells>>::default());
    let events = inotify.into_event_stream(vec![0; 4096])?;
    let task = tokio::spawn(ring(events, bells.clone())).abort_handle();
    Ok(Listener { watches, bells, task })
}

async fn ring(mut events: EventStream<Vec<u8>>, bells: Arc<Mutex<Bells>>) {
    while let Some(Ok(event)) = events.next().await {
        let bells = lock(&bells);
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            bells.values().for_each(|bell| bell.send_replace(()));
        } else if let Some(bell) = bells.get(&event.wd) {
            bell.send_replace(());
        }
    }
}

impl Listener {
    fn arm(&self, path: &Path) -> io::Result<Bell> {
        let (mut watches, mut bells) = (self.watches.clone(), lock(&self.bells));
        // Two who watch one file have one watch; locked, no event of it is missed.
        let watch = watches.add(path, GONE | WatchMask::DONT_FOLLOW)?;
        let rung = bells.entry(watch.clone()).or_default().subscribe();
        Ok(Bell { rung, armed: Armed { watches, watch, bells: self.bells.clone() } })
    }
}

/// Rings when something happens to a file.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: watch::Receiver<()>,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "what matters is when it is dropped: after the receiver")
    )]
    armed: Armed,
}

impl Bell {
    pub(crate) async fn rung(&mut self) {
        if self.rung.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[derive(Debug)]
struct Armed {
    watches: Watches,
    watch: WatchDescriptor,
    bells: Arc<Mutex<Bells>>,
}

impl Drop for Armed {
    fn drop(&mut self) {
        let mut bells = lock(&self.bells);
        if bells.get(&self.watch).is_some_and(|bell| bell.receiver_count() == 0) {
            bells.remove(&self.watch);
            // A file that is gone has taken the watch with it.
            let _ = self.watches.remove(self.watch.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    async fn rings(bell: &mut Bell) {
        tokio::time::timeout(Duration::from_secs(60), bell.rung()).await.expect("the bell rings");
    }

    #[tokio::test]
    async fn a_bell_rings_for_what_happens_to_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let [closed, removed, read] = ["closed", "removed", "read"].map(|name| directory.path().join(name));
        let owner = File::create_new(&closed).unwrap();
        let owners = [File::create_new(&removed).unwrap(), File::create_new(&read).unwrap()];
        let alarms = Alarms::default();
        let mut bells = [&closed, &removed, &read].map(|path| alarms.arm(path).unwrap());

        drop(File::open(&read).unwrap());
        drop(owner);
        rings(&mut bells[0]).await;
        fs::remove_file(&removed).unwrap();
        rings(&mut bells[1]).await;
        // Events come in order: that of a reader would have come before.
        assert!(bells[2].rung().now_or_never().is_none(), "whoever looks wakes everybody");
        drop(owners);
        rings(&mut bells[2]).await;
    }

    #[tokio::test]
    async fn when_events_were_lost_every_bell_rings() {
        let directory = tempfile::tempdir().unwrap();
        let [quiet, noisy] = ["quiet", "noisy"].map(|name| directory.path().join(name));
        let alarms = Alarms::default();
        for path in [&quiet, &noisy] {
            File::create_new(path).unwrap();
        }
        let mut bells = [&quiet, &noisy].map(|path| alarms.arm(path).unwrap());

        // Nobody reads meanwhile. The same event twice in a row would be counted once.
        let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        for _ in 0..=queue.trim().parse::<usize>().unwrap() / 2 {
            fs::set_permissions(&noisy, fs::metadata(&noisy).unwrap().permissions()).unwrap();
            drop(File::options().write(true).open(&noisy).unwrap());
        }
        fs::remove_file(&quiet).unwrap();
        rings(&mut bells[0]).await;
    }

    #[tokio::test]
    async fn a_bell_of_two_does_not_end_with_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let owner = File::create_new(&path).unwrap();
        let alarms = Alarms::default();
        let (one, mut two) = (alarms.arm(&path).unwrap(), alarms.arm(&path).unwrap());
        drop(one);
        drop(owner);
        rings(&mut two).await;
        let bells = two.armed.bells.clone();
        drop(two);
        assert!(lock(&bells).is_empty(), "nothing is left");
        assert!(alarms.arm(&directory.path().join("missing")).is_none());
    }
}
