//! What the pure rule costs, by the length of the queue.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lockcore::queue::rule::{holders, verdict};
use lockcore::queue::standing;
use lockcore::{EntryId, EntryKind, QueuedEntry, Revision};

const LENGTHS: [usize; 3] = [10, 200, 10_000];
const KINDS: [(&str, EntryKind); 3] = [
    ("exclusive", EntryKind::Exclusive),
    ("shared", EntryKind::Shared),
    ("semaphore of 4", EntryKind::Permits { permits: 1, limit: 4 }),
];

/// How many entries of one kind hold.
fn holding(c: &mut Criterion) {
    let mut group = c.benchmark_group("holders");
    for (name, kind) in KINDS {
        for length in LENGTHS {
            let weights = vec![kind.weight(); length];
            group.bench_function(BenchmarkId::new(name, length), |b| {
                b.iter(|| holders(kind.limit(), black_box(&weights).iter().copied()));
            });
        }
    }
}

/// What the last of many has to wait for.
fn waiting(c: &mut Criterion) {
    let mut group = c.benchmark_group("verdict");
    for (name, kind) in KINDS {
        for length in LENGTHS {
            let mut ahead = vec![kind.weight(); length];
            // A reader waits for a writer: here for one at the head.
            ahead[length - 1] = kind.limit();
            group.bench_function(BenchmarkId::new(name, length), |b| {
                b.iter(|| verdict(kind.limit(), kind.weight(), black_box(&ahead).iter().copied()));
            });
        }
    }
}

/// Where the last of a queue stands, as drivers ask that list it.
fn listed(c: &mut Criterion) {
    let mut group = c.benchmark_group("standing");
    for length in LENGTHS {
        let entry = |_| QueuedEntry { id: EntryId::random(), kind: EntryKind::Exclusive };
        let queue: Vec<QueuedEntry> = (0..length).map(entry).collect();
        let id = &queue[length - 1].id;
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("exclusive", length), |b| {
            b.iter(|| standing(black_box(&queue), id, Revision::default()));
        });
    }
}

criterion_group!(benches, holding, waiting, listed);
criterion_main!(benches);
