//! One acquisition from beginning to end, put together from its events.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{Promise, Violation};
use super::{Event, What};

/// A point of the history: when, and the how manyth event. A deadline has the number 0: it comes before whatever happens then.
pub(super) type Point = (Duration, usize);

/// What became of one acquisition.
#[derive(Debug)]
pub(super) struct Life<'h> {
    pub(super) number: u64,
    pub(super) lock: &'h str,
    pub(super) weight: u32,
    pub(super) limit: u32,
    pub(super) asked: Point,
    pub(super) grant: Option<Grant>,
    pub(super) lost: Option<Point>,
    releases: Option<Point>,
    over: Option<Point>,
    pub(super) killed: Option<Point>,
    pub(super) last_seen: Option<Point>,
}

/// A guard that was had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) from: Point,
    pub(super) token: u64,
    /// The last deadline that it gave.
    pub(super) until: Option<Duration>,
}

impl<'h> Life<'h> {
    fn new(number: u64, lock: &'h str, weight: u32, limit: u32, asked: Point) -> Self {
        let (grant, lost, releases, over, killed, last_seen) = (None, None, None, None, None, None);
        Self { number, lock, weight, limit, asked, grant, lost, releases, over, killed, last_seen }
    }

    /// When the guard stopped protecting anything, as far as is known.
    pub(super) fn end_of_hold(&self) -> Option<Point> {
        let until = self.grant.and_then(|grant| grant.until).map(|until| (until, 0));
        [self.lost, self.releases, self.over, self.killed, until].into_iter().flatten().min()
    }

    /// When there was nobody any more who waits or holds.
    pub(super) fn end(&self) -> Option<Point> {
        [self.over, self.killed].into_iter().flatten().min()
    }

    /// Whether its guard was given back, by a release or by its end.
    pub(super) fn given_back(&self) -> Option<Point> {
        [self.releases, self.over].into_iter().flatten().min()
    }

    /// What makes no sense, or breaks a promise by itself.
    fn on(&mut self, point: Point, what: &What) -> Result<(), (Promise, &'static str)> {
        match *what {
            What::Asked { .. } => return Err((Promise::Sense, "is asked for twice")),
            What::Granted { .. } if self.grant.is_some() => return Err((Promise::Sense, "is granted twice")),
            What::Granted { token, until } => {
                self.grant = Some(Grant { from: point, token, until });
                if self.end().is_some() {
                    return Err((Promise::Answer, "is granted after it was over"));
                }
            }
            What::Valid { until } => return self.valid(point, until),
            What::Lost => self.lost = self.lost.or(Some(point)),
            What::Releases => self.releases = self.releases.or(Some(point)),
            What::Over => self.over = self.over.or(Some(point)),
            What::Killed => self.killed = self.killed.or(Some(point)),
            What::Seen => self.last_seen = Some(point),
            What::Wrote { .. } if self.grant.is_none() => {
                return Err((Promise::Sense, "writes without a guard"));
            }
            What::Wrote { .. } => {}
        }
        Ok(())
    }

    fn valid(&mut self, point: Point, until: Option<Duration>) -> Result<(), (Promise, &'static str)> {
        let grant = self.grant.as_mut().ok_or((Promise::Sense, "is valid without a guard"))?;
        if self.lost.is_some() {
            return Err((Promise::LossIsTold, "is valid after its loss"));
        }
        if until.is_some_and(|until| until < point.0) {
            return Err((Promise::LossIsTold, "is valid after its own deadline"));
        }
        grant.until = until;
        Ok(())
    }
}

/// The lives of all acquisitions, in the order in which they were asked for; and what they did that is never right.
pub(super) fn lives<'h>(events: &[(Point, &'h Event)]) -> (Vec<Life<'h>>, Vec<Violation>) {
    let (mut lives, mut places) = (Vec::<Life>::new(), BTreeMap::new());
    let mut violations = Vec::new();
    for (point, Event { acquisition: number, what, .. }) in events {
        let did = match (places.get(number), what) {
            (Some(place), what) => {
                let life: &mut Life = &mut lives[*place];
                life.on(*point, what)
            }
            (None, What::Asked { lock, weight, limit }) => {
                places.insert(*number, lives.len());
                lives.push(Life::new(*number, lock, *weight, *limit, *point));
                Ok(())
            }
            (None, _) => Err((Promise::Sense, "was never asked for")),
        };
        if let Err((promise, did)) = did {
            violations.push(Violation { promise, how: format!("{number} {did} ({:?})", point.0) });
        }
    }
    (lives, violations)
}
