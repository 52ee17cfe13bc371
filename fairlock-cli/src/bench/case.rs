//! What is measured together: rows that have their floor in common.

use std::fmt;
use std::sync::Arc;

use fairlock::{AcquireOptions, DistributedLock, LockService};
use lockcore::queue::rule::UNBOUNDED;

use super::fanout;
use super::floor::{self, Bare, Shape};
use super::measure::{Figures, Sample, Spread, jain};
use super::meter::Meter;
use super::options::{BenchOptions, Kind, Row};
use super::place::Place;
use super::report::Speed;
use super::turn::{Contender, Ours, Release, contend};
use crate::exit::Failure;
use crate::service::close_all;

/// Rows of one shape.
pub(super) struct Case {
    row: Row,
    shape: Shape,
    variants: Vec<Variant>,
}

/// What differs between the rows of a case.
#[derive(Debug, Clone, Copy)]
struct Variant {
    /// Names its locks.
    number: u32,
    kind: Kind,
    release: Release,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.row.name(), self.n())
    }
}

/// How many tasks there are in `parallel`.
const PARALLEL: u32 = 64;
/// How many permits the semaphores have, where fewer than all who contend can hold.
const PERMITS: u32 = 4;

/// Everything that the options ask for and that has a floor.
pub(super) fn cases(options: &BenchOptions) -> Vec<Case> {
    let shape = |connections, tasks_each, one_lock| Shape { connections, tasks_each, one_lock };
    let mut shapes = vec![(Row::Uncontended, shape(1, 1, false)), (Row::Parallel, shape(1, PARALLEL, false))];
    shapes.extend(options.waiters.iter().map(|n| (Row::Handover, shape(*n, 1, true))));
    // One more leaves.
    shapes.extend(options.waiters.iter().map(|n| (Row::Fanout, shape(*n + 1, 1, true))));
    let case = |(row, shape)| Case { row, shape, variants: variants(row, options) };
    let chosen = shapes.into_iter().filter(|(row, _)| options.has(*row)).map(case);
    chosen.filter(|case| !case.variants.is_empty()).collect()
}

fn variants(row: Row, options: &BenchOptions) -> Vec<Variant> {
    let releases: &[Release] = match row {
        Row::Uncontended => &[Release::Awaited, Release::Dropped],
        _ => &[Release::Awaited],
    };
    // Only one exclusive lock can be let in.
    let kinds = options.kinds().into_iter().filter(|kind| row != Row::Fanout || *kind != Kind::Exclusive);
    let all = kinds.flat_map(|kind| releases.iter().map(move |release| (kind, *release)));
    (0..).zip(all).map(|(number, (kind, release))| Variant { number, kind, release }).collect()
}

/// What a contender asks for. A lock that everybody shares hands nothing over: every second one excludes.
pub(super) fn kind_of(row: Row, kind: Kind, contender: u32) -> Kind {
    match (row, kind) {
        (Row::Handover | Row::Waiters, Kind::Shared) if contender % 2 == 1 => Kind::Exclusive,
        (Row::Fanout, Kind::Shared) if contender == 0 => Kind::Exclusive,
        _ => kind,
    }
}

/// How many permits a lock of this kind has, for which so many contend.
pub(super) fn limit(row: Row, kind: Kind, contenders: u32) -> u32 {
    match (row, kind) {
        (_, Kind::Exclusive | Kind::Shared) => UNBOUNDED,
        (Row::Fanout, Kind::Semaphore) => contenders - 1,
        (Row::Handover, Kind::Semaphore) => PERMITS.min(contenders - 1),
        (_, Kind::Semaphore) => PERMITS,
    }
}

/// Asks for all of a lock of this kind and limit.
pub(super) fn whole(kind: Kind, limit: u32) -> AcquireOptions {
    let permits = if kind == Kind::Semaphore { limit } else { 1 };
    AcquireOptions::new().with_permits(permits)
}

impl Case {
    /// The number that the options gave.
    fn n(&self) -> u32 {
        self.shape.contenders() - u32::from(self.row == Row::Fanout)
    }

    /// Measures all of its rows and the floor, in turn, round by round.
    pub(super) async fn measure(
        &self,
        place: &Place,
        options: &BenchOptions,
        mut show: impl FnMut(&str),
    ) -> Result<Vec<Speed>, Failure> {
        show("connecting");
        let mut meter = Meter::new(place.url()).await;
        let services = place.services(self.shape.connections).await?;
        let mut bare = floor::contenders(place.url(), self.shape).await?;
        let mut floor = Vec::new();
        let mut ours: Vec<Vec<Sample>> = self.variants.iter().map(|_| Vec::new()).collect();
        for round in 0..=options.rounds {
            // The first round fills caches and connections, and does not count.
            let counts = round > 0;
            show(&if counts { format!("round {round} of {}", options.rounds) } else { "warm-up".to_owned() });
            if let Some(bare) = &mut bare {
                let sample = self.of_floor(bare, options, &mut meter).await?;
                floor.extend(counts.then_some(sample));
            }
            for (variant, samples) in self.variants.iter().zip(&mut ours) {
                let sample = self.of_ours(place, &services, *variant, options, &mut meter).await?;
                samples.extend(counts.then_some(sample));
            }
        }
        close_all(&services).await;
        for bare in bare.into_iter().flatten() {
            bare.end().await?;
        }
        Ok(self.variants.iter().zip(ours).map(|(variant, ours)| self.row(*variant, &ours, &floor)).collect())
    }

    async fn of_floor(
        &self,
        bare: &mut Vec<Bare>,
        options: &BenchOptions,
        meter: &mut Meter,
    ) -> Result<Sample, Failure> {
        match self.row {
            Row::Fanout => fanout::bare(bare, options.time, meter).await,
            _ => self.contention(bare, UNBOUNDED, options, meter).await,
        }
    }

    async fn of_ours(
        &self,
        place: &Place,
        services: &[Arc<dyn LockService>],
        variant: Variant,
        options: &BenchOptions,
        meter: &mut Meter,
    ) -> Result<Sample, Failure> {
        let limit = limit(self.row, variant.kind, self.shape.contenders());
        let lock = |contender: u32| {
            let service = &services[(contender / self.shape.tasks_each) as usize];
            let number = variant.number * self.shape.contenders() + self.shape.lock_of(contender);
            place.lock(&**service, kind_of(self.row, variant.kind, contender), limit, number)
        };
        let locks: Vec<Arc<dyn DistributedLock>> =
            (0..self.shape.contenders()).map(lock).collect::<Result<_, Failure>>()?;
        if self.row == Row::Fanout {
            let whole = whole(variant.kind, limit);
            return fanout::ours(&locks[0], &whole, &locks[1..], options.time, meter).await;
        }
        let mut contenders = locks.into_iter().map(|lock| Ours::new(lock, variant.release)).collect();
        self.contention(&mut contenders, limit, options, meter).await
    }

    async fn contention<C: Contender>(
        &self,
        contenders: &mut Vec<C>,
        limit: u32,
        options: &BenchOptions,
        meter: &mut Meter,
    ) -> Result<Sample, Failure> {
        /// So many grants in a second that to look at the clock at each is a good part of what it takes.
        const FAST: f64 = 50_000.0;
        const SELDOM: u64 = 64;
        let round = contend(contenders, options.time, 1, meter).await?;
        let mut sample = Sample::of(round, limit, self.shape.one_lock);
        if sample.rate > FAST {
            let round = contend(contenders, options.time, SELDOM, meter).await?;
            sample.rate = Sample::of(round, limit, self.shape.one_lock).rate;
        }
        Ok(sample)
    }

    fn row(&self, Variant { kind, release, .. }: Variant, ours: &[Sample], floor: &[Sample]) -> Speed {
        let ratios = ours.iter().zip(floor).map(|(ours, floor)| ours.rate / floor.rate);
        Speed {
            row: self.row.name(),
            kind: kind.name(),
            release: if release == Release::Awaited { "awaited" } else { "dropped" },
            n: self.n(),
            services: self.shape.connections,
            rounds: ours.len() as u32,
            figures: Figures::of(ours),
            jain: jain(ours),
            overtaking: ours.iter().map(|sample| sample.overtaking).sum(),
            floor: (!floor.is_empty()).then(|| Figures::of(floor)),
            ratio: Spread::of(ratios),
        }
    }
}
