//! Shared and exclusive entries of one name stand in one queue.

use std::sync::Arc;

use lockcore::LockGuard;
use lockcore::queue::rule::{UNBOUNDED, holders};

use super::prelude::*;
use crate::context::{Party, Waiting};

trials!("shared", Clients: [
    readers_hold_together,
    the_worked_example,
    reader_behind_a_waiting_writer_waits,
    later_writer_does_not_hinder_a_reader,
    writer_waits_for_every_reader,
    every_short_sequence,
]);

/// A queue of acquisitions of which each is waiting, or holding, or over.
struct Line {
    context: Context,
    party: Party,
    places: Vec<(Kind, Place)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Exclusive,
    Shared,
}

enum Place {
    Waits(Waiting),
    Holds(LockGuard),
    Over,
}

impl Line {
    async fn new(context: Context) -> Result<Self, Failure> {
        let party = context.client().await?;
        Ok(Self { context, party, places: Vec::new() })
    }

    fn lock(&self, kind: Kind) -> lockcore::Result<Arc<dyn DistributedLock>> {
        match kind {
            Kind::Exclusive => self.party.locks.exclusive(self.context.name()),
            Kind::Shared => self.party.locks.shared(self.context.name()),
        }
    }

    async fn join(&mut self, kind: Kind) -> Verdict {
        let ahead = self.places.iter().filter(|(_, place)| !matches!(place, Place::Over)).count();
        let waiting = self.context.enqueue(&self.lock(kind)?, self.party.options(), ahead).await?;
        self.places.push((kind, Place::Waits(waiting)));
        self.settle().await
    }

    async fn leave(&mut self, number: usize) -> Verdict {
        let place = std::mem::replace(&mut self.places[number].1, Place::Over);
        let Place::Holds(guard) = place else { return Err(Failure::new("only holders leave")) };
        let released = guard.release().await?;
        check!(released == Released::Held, "released: {released:?}");
        self.settle().await
    }

    /// Waits for everybody who must hold now, and checks that nobody else does.
    async fn settle(&mut self) -> Verdict {
        let weight = |kind: Kind| if kind == Kind::Exclusive { UNBOUNDED } else { 1 };
        let alive: Vec<usize> =
            (0..self.places.len()).filter(|number| !matches!(self.places[*number].1, Place::Over)).collect();
        let count = holders(UNBOUNDED, alive.iter().map(|number| weight(self.places[*number].0)));
        let (holding, waiting) = alive.split_at(count);
        for number in holding {
            let place = std::mem::replace(&mut self.places[*number].1, Place::Over);
            self.places[*number].1 = match place {
                Place::Waits(waiting) => Place::Holds(self.context.granted(waiting).await?),
                place => place,
            };
        }
        for number in waiting {
            let Place::Waits(waiting) = &self.places[*number].1 else {
                return Err(Failure::new(format!("entry {number} lost its hold")));
            };
            check!(!waiting.is_finished(), "entry {number} was granted before its turn");
        }
        Ok(())
    }

    fn holding(&self) -> Vec<usize> {
        let holds = |number: &usize| matches!(self.places[*number].1, Place::Holds(_));
        (0..self.places.len()).filter(holds).collect()
    }

    async fn expect(&self, holding: &[usize]) -> Verdict {
        check!(self.holding() == holding, "{:?} hold, not {holding:?}", self.holding());
        let queue = self.lock(Kind::Shared)?.queue().await?;
        let seen = queue.iter().filter(|entry| entry.holds).count();
        check!(seen == holding.len(), "the queue shows {seen} holders, not {}", holding.len());
        Ok(())
    }
}

use Kind::{Exclusive as EX, Shared as SH};

async fn readers_hold_together(context: Context) -> Verdict {
    let mut line = Line::new(context).await?;
    for _ in 0..5 {
        line.join(SH).await?;
    }
    line.expect(&[0, 1, 2, 3, 4]).await
}

async fn the_worked_example(context: Context) -> Verdict {
    let mut line = Line::new(context).await?;
    for kind in [EX, SH, SH, SH, EX, EX, SH, SH] {
        line.join(kind).await?;
    }
    for phase in [&[0][..], &[1, 2, 3], &[4], &[5], &[6, 7]] {
        line.expect(phase).await?;
        for number in phase {
            line.leave(*number).await?;
        }
    }
    line.expect(&[]).await
}

async fn reader_behind_a_waiting_writer_waits(context: Context) -> Verdict {
    let mut line = Line::new(context).await?;
    for kind in [SH, EX, SH] {
        line.join(kind).await?;
    }
    line.expect(&[0]).await?;
    check!(line.lock(SH)?.try_acquire().await?.is_none(), "a shared try overtook a waiting writer");
    check!(!line.lock(SH)?.acquirable().await?, "acquirable, although a writer waits");
    line.leave(0).await?;
    line.expect(&[1]).await
}

async fn later_writer_does_not_hinder_a_reader(context: Context) -> Verdict {
    let mut line = Line::new(context).await?;
    for kind in [EX, SH, EX] {
        line.join(kind).await?;
    }
    line.leave(0).await?;
    line.expect(&[1]).await?;
    line.leave(1).await?;
    line.expect(&[2]).await
}

async fn writer_waits_for_every_reader(context: Context) -> Verdict {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut line = Line::new(context.clone()).await?;
        for kind in [SH, SH, SH, EX] {
            line.join(kind).await?;
        }
        for number in order {
            line.expect(&line.holding()).await?;
            check!(!line.holding().contains(&3), "the writer holds beside a reader");
            line.leave(number).await?;
        }
        line.expect(&[3]).await?;
        line.leave(3).await?;
    }
    Ok(())
}

async fn every_short_sequence(context: Context) -> Verdict {
    for sequence in 0..16u32 {
        let mut line = Line::new(context.clone()).await?;
        for bit in 0..4 {
            line.join(if sequence & (1 << bit) == 0 { SH } else { EX }).await?;
        }
        // Readers leave youngest first, which is the harder way.
        while let Some(number) = line.holding().pop() {
            line.leave(number).await?;
        }
        context.until_empty(&*line.lock(SH)?).await?;
    }
    Ok(())
}
