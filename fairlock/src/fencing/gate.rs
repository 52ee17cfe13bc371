//! A gate that refuses holders whose time is over.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lockcore::FencingToken;
use tokio::sync::Notify;

use super::persist;

/// Refuses tokens that are smaller than the largest that it has seen. One gate belongs to one lock.
///
/// [`admit`](Self::admit) says whether a token may go on *now*; [`enter`](Self::enter) also keeps the next holder out until the work is done,
/// so that checking and writing are one step.
///
/// # Examples
///
/// ```
/// use fairlock::FencingToken;
/// use fairlock::fencing::TokenGate;
///
/// let gate = TokenGate::new();
/// let (first, second) = (FencingToken::new(33), FencingToken::new(34));
/// let pass = gate.enter_blocking(first)?; // write here
/// drop(pass);
/// let _pass = gate.enter_blocking(second)?;
/// assert!(gate.enter_blocking(first).is_err()); // it was paused, and comes too late
/// # Ok::<_, fairlock::fencing::Refused>(())
/// ```
#[derive(Debug, Default)]
pub struct TokenGate {
    state: Mutex<State>,
    /// Told when the last pass of a token was given back.
    emptied: Notify,
    emptied_blocking: Condvar,
}

#[derive(Default)]
struct State {
    largest: Option<FencingToken>,
    /// The token of all who are inside, and how many they are.
    inside: Option<(FencingToken, usize)>,
    save: Option<Box<Save>>,
}

/// Keeps the largest token for the time after a restart.
type Save = dyn FnMut(FencingToken) -> io::Result<()> + Send;

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { largest, inside, save } = self;
        let mut shown = f.debug_struct("State");
        shown.field("largest", largest).field("inside", inside).field("saves", &save.is_some()).finish()
    }
}

/// Why a gate refused a token.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refused {
    /// A later holder has been here.
    Stale {
        /// What was shown.
        token: FencingToken,
        /// The largest that the gate has seen.
        largest: FencingToken,
    },
    /// The token is the largest so far, but that could not be kept for the time after a restart. The gate has not changed.
    NotSaved(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Stale { token, largest } => {
                write!(f, "fencing token {token} is stale: a later holder, with {largest}, has been here")
            }
            Refused::NotSaved(_) => f.write_str("the fencing token could not be saved"),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Refused::Stale { .. } => None,
            Refused::NotSaved(error) => Some(error),
        }
    }
}

impl State {
    /// Refuses the token, or remembers it.
    fn admit(&mut self, token: FencingToken) -> Result<(), Refused> {
        match self.largest {
            Some(largest) if token < largest => return Err(Refused::Stale { token, largest }),
            Some(largest) if token == largest => return Ok(()),
            _ => {}
        }
        if let Some(save) = &mut self.save {
            // Before anything is done under it.
            save(token).map_err(Refused::NotSaved)?;
        }
        self.largest = Some(token);
        Ok(())
    }

    /// Lets the token in if nobody else is inside; whether it is in.
    fn enter(&mut self, token: FencingToken) -> Result<bool, Refused> {
        self.admit(token)?;
        let inside = self.inside.get_or_insert((token, 0));
        let enters = inside.0 == token;
        inside.1 += usize::from(enters);
        Ok(enters)
    }
}

impl TokenGate {
    /// A gate that has seen no token, and forgets what it sees when the process ends.
    pub fn new() -> Self {
        Self::default()
    }

    /// A gate that has seen tokens up to `largest`, and calls `save` with each larger one before anything is done under that: once for each
    /// holder. If saving fails, the token is refused.
    pub fn persistent(
        largest: Option<FencingToken>,
        save: impl FnMut(FencingToken) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let state = State { largest, inside: None, save: Some(Box::new(save)) };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// A gate that keeps the largest token in this file, which is replaced and synchronized with the disk for each new holder. Of the
    /// processes that use one file, only one may run at a time.
    ///
    /// # Errors
    ///
    /// What the system says of the file; `InvalidData` if it holds something else than a token.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::FencingToken;
    /// use fairlock::fencing::TokenGate;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("orders.token");
    /// TokenGate::in_file(&path)?.admit(FencingToken::new(34))?;
    /// // After a restart.
    /// assert!(TokenGate::in_file(&path)?.admit(FencingToken::new(33)).is_err());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let largest = persist::read(&path)?;
        Ok(Self::persistent(largest, move |token| persist::write(&path, token)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever `save` does, the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest token that has been seen.
    pub fn largest(&self) -> Option<FencingToken> {
        self.lock().largest
    }

    /// Refuses the token, or remembers it. What is done under it afterwards may be overtaken by a later holder: this alone is enough where the
    /// doing is ordered already, such as under a mutex of the caller's.
    ///
    /// # Errors
    ///
    /// [`Stale`](Refused::Stale) for a token that is smaller than the largest; [`NotSaved`](Refused::NotSaved).
    pub fn admit(&self, token: FencingToken) -> Result<(), Refused> {
        self.lock().admit(token)
    }

    /// Refuses the token, or remembers it and waits until all who are inside with a smaller one are out. As long as the pass lives, nobody
    /// comes in with a larger token; others with the same come in at once.
    ///
    /// # Errors
    ///
    /// Those of [`admit`](Self::admit), also if a larger token comes while this one waits.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the token has been seen, and smaller ones are refused.
    pub async fn enter(&self, token: FencingToken) -> Result<Pass<'_>, Refused> {
        loop {
            // Before the state is looked at: whoever leaves from here on is heard.
            let emptied = self.emptied.notified();
            if self.lock().enter(token)? {
                return Ok(Pass { gate: self });
            }
            emptied.await;
        }
    }

    /// [`enter`](Self::enter) for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`enter`](Self::enter).
    pub fn enter_blocking(&self, token: FencingToken) -> Result<Pass<'_>, Refused> {
        let mut state = self.lock();
        while !state.enter(token)? {
            state = self.emptied_blocking.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(Pass { gate: self })
    }
}

/// Somebody is inside of a [`TokenGate`]. Dropping it lets the next holder in.
#[must_use = "the next holder is let in as soon as the pass is dropped"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct Pass<'g> {
    gate: &'g TokenGate,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if let Some((_, count)) = &mut state.inside {
            *count -= 1;
            if *count > 0 {
                return;
            }
        }
        state.inside = None;
        drop(state);
        self.gate.emptied.notify_waiters();
        self.gate.emptied_blocking.notify_all();
    }
}
