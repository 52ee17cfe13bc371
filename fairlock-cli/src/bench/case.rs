//! What is measured together: rows that have their floor in common.

use std::fmt;
use std::sync::Arc;

use fairlock::LockService;
use fairlock::queue::rule::UNBOUNDED;

use super::floor::{self, Shape};
use super::measure::{Figures, Sample, Spread, jain};
use super::meter::Meter;
use super::options::{BenchOptions, Kind, Row};
use super::place::{Place, close_all};
use super::report;
use super::turn::{Contender, Ours, Release, contend};
use crate::exit::Failure;

/// Rows of one shape.
pub(super) struct Case {
    row: Row,
    shape: Shape,
    variants: Vec<Variant>,
}

/// What differs between the rows of a case.
#[derive(Debug, Clone, Copy)]
struct Variant {
    kind: Kind,
    release: Release,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.row.name(), self.shape.contenders())
    }
}

/// How many tasks there are in `parallel`.
const PARALLEL: u32 = 64;
/// How many permits the semaphores have, where fewer than all who contend can hold.
const PERMITS: u32 = 4;

/// Everything that the options ask for.
pub(super) fn cases(options: &BenchOptions) -> Vec<Case> {
    let variant = |release| move |kind| Variant { kind, release };
    let awaited: Vec<Variant> = options.kinds().into_iter().map(variant(Release::Awaited)).collect();
    let dropped = options.kinds().into_iter().map(variant(Release::Dropped));
    let mut cases = Vec::new();
    if options.has(Row::Uncontended) {
        let shape = Shape { connections: 1, tasks_each: 1, one_lock: false };
        let variants = awaited.iter().copied().chain(dropped).collect();
        cases.push(Case { row: Row::Uncontended, shape, variants });
    }
    if options.has(Row::Parallel) {
        let shape = Shape { connections: 1, tasks_each: PARALLEL, one_lock: false };
        cases.push(Case { row: Row::Parallel, shape, variants: awaited.clone() });
    }
    if options.has(Row::Handover) {
        let shape = |connections: &u32| Shape { connections: *connections, tasks_each: 1, one_lock: true };
        let case = |shape| Case { row: Row::Handover, shape, variants: awaited.clone() };
        cases.extend(options.waiters.iter().map(shape).map(case));
    }
    cases.retain(|case| !case.variants.is_empty());
    cases
}

impl Case {
    /// Measures all of its rows and the floor, in turn, round by round.
    pub(super) async fn measure(
        &self,
        place: &Place,
        options: &BenchOptions,
        mut show: impl FnMut(&str),
    ) -> Result<Vec<report::Row>, Failure> {
        show("connecting");
        let mut meter = Meter::new(place.url()).await;
        let mut bare = floor::contenders(place.url(), self.shape).await?;
        let services = place.services(self.shape.connections).await?;
        let mut floor = Vec::new();
        let mut ours: Vec<Vec<Sample>> = self.variants.iter().map(|_| Vec::new()).collect();
        // The first round warms up: it is measured, but does not count.
        for round in 0..=options.rounds {
            show(&if round == 0 {
                "warm-up".to_owned()
            } else {
                format!("round {round} of {}", options.rounds)
            });
            if let Some(bare) = &mut bare {
                let sample = self.sample(bare, UNBOUNDED, options, &mut meter).await?;
                floor.push(sample);
            }
            for (number, (variant, samples)) in (0..).zip(self.variants.iter().zip(&mut ours)) {
                let mut contenders = self.contenders(place, &services, *variant, number)?;
                samples
                    .push(self.sample(&mut contenders, self.limit(variant.kind), options, &mut meter).await?);
            }
        }
        close_all(&services).await;
        for bare in bare.into_iter().flatten() {
            bare.end().await?;
        }
        [&mut floor].into_iter().chain(&mut ours).filter(|samples| !samples.is_empty()).for_each(|samples| {
            samples.remove(0);
        });
        Ok(self.variants.iter().zip(ours).map(|(variant, ours)| self.row(*variant, &ours, &floor)).collect())
    }

    async fn sample<C: Contender>(
        &self,
        contenders: &mut Vec<C>,
        limit: u32,
        options: &BenchOptions,
        meter: &mut Meter,
    ) -> Result<Sample, Failure> {
        let round = contend(contenders, options.time, 1, meter).await?;
        Ok(Sample::of(round, limit, self.shape.one_lock))
    }

    fn contenders(
        &self,
        place: &Place,
        services: &[Arc<dyn LockService>],
        variant: Variant,
        number: u32,
    ) -> Result<Vec<Ours>, Failure> {
        let contender = |contender: u32| {
            let service = &services[(contender / self.shape.tasks_each) as usize];
            // A lock that everybody shares hands nothing over: every second one excludes.
            let kind = match variant.kind {
                Kind::Shared if self.shape.one_lock && contender % 2 == 1 => Kind::Exclusive,
                kind => kind,
            };
            let lock = number * self.shape.contenders() + self.shape.lock_of(contender);
            let lock = place.lock(&**service, kind, self.limit(kind), lock)?;
            Ok(Ours::new(lock, variant.release))
        };
        (0..self.shape.contenders()).map(contender).collect()
    }

    fn limit(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Exclusive | Kind::Shared => UNBOUNDED,
            Kind::Semaphore if self.shape.one_lock => PERMITS.min(self.shape.contenders() - 1),
            Kind::Semaphore => PERMITS,
        }
    }

    fn row(&self, Variant { kind, release }: Variant, ours: &[Sample], floor: &[Sample]) -> report::Row {
        let ratios = ours.iter().zip(floor).map(|(ours, floor)| ours.rate / floor.rate);
        report::Row {
            row: self.row.name(),
            kind: kind.name(),
            release: if release == Release::Awaited { "awaited" } else { "dropped" },
            services: self.shape.connections,
            contenders: self.shape.contenders(),
            rounds: ours.len() as u32,
            figures: Figures::of(ours),
            jain: jain(ours),
            overtaking: ours.iter().map(|sample| sample.overtaking).sum(),
            floor: (!floor.is_empty()).then(|| Figures::of(floor)),
            ratio: Spread::of(ratios),
        }
    }
}
