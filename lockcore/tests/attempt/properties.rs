//! What has to be true in every state, and which states there have to be.

use lockcore::queue::Standing;
use stateright::Property;

use super::client::{Doing, Session};
use super::world::{Lock, Queued, World, gone};

pub(super) const RULE: &str = "a valid guard has an entry that holds by the rule";
pub(super) const TOKEN: &str = "a valid guard has the token of its entry";
pub(super) const ORDER: &str = "grants follow the queue, and tokens rise";
pub(super) const ONE_ENTRY: &str = "an acquisition has one live entry at most";
pub(super) const NOTHING_LEFT: &str = "an attempt that is over leaves no entry";
pub(super) const AWAKE: &str = "nobody sleeps who may hold";
pub(super) const NOTICED: &str = "nobody sleeps whose entry is gone";
pub(super) const IN_TIME: &str = "no guard is lost when it is given";
pub(super) const HONEST: &str = "nobody is told of a removal that was none";

pub(super) fn properties(only: Option<&'static str>) -> Vec<Property<Lock>> {
    let all = always().into_iter().chain(sometimes());
    all.filter(|property| only.is_none_or(|only| property.name == only)).collect()
}

fn always() -> Vec<Property<Lock>> {
    vec![
        Property::always(RULE, |lock: &Lock, world: &World| {
            lock.valid(world).all(|i| lock.standing(world, i) == Standing::Holds)
        }),
        Property::always(TOKEN, |lock: &Lock, world: &World| {
            lock.meddling
                || lock.valid(world).all(|i| {
                    let own = world.queue.iter().find(|queued| queued.owner == world.owner(i));
                    own.is_none_or(|own| Some(own.token) == world.clients[i].token)
                })
        }),
        Property::always(ORDER, |_: &Lock, world: &World| !world.overtaken),
        Property::always(ONE_ENTRY, |_: &Lock, world: &World| {
            (0..world.clients.len()).all(|i| {
                let own = |queued: &&Queued| queued.owner == world.owner(i);
                world.queue.iter().filter(own).count() <= 1
            })
        }),
        Property::always(NOTHING_LEFT, |lock: &Lock, world: &World| {
            let left = |queued: &Queued| world.clients[queued.owner.0].doing == Doing::Over;
            !lock.quiet(world) || !world.queue.iter().any(left)
        }),
        Property::always(AWAKE, |lock: &Lock, world: &World| {
            let slept = |i: usize| sleeps(world, i) && lock.standing(world, i) == Standing::Holds;
            !lock.quiet(world) || !(0..world.clients.len()).any(slept)
        }),
        Property::always(NOTICED, |lock: &Lock, world: &World| {
            let unnoticed = |i| sleeps(world, i) && gone(world, world.owner(i)) && !world.clients[i].meddled;
            !lock.quiet(world) || !(0..world.clients.len()).any(unnoticed)
        }),
        Property::always(IN_TIME, |_: &Lock, world: &World| {
            !world.clients.iter().any(|client| client.granted_too_late)
        }),
        Property::always(HONEST, |_: &Lock, world: &World| {
            world.clients.iter().all(|client| client.meddled || !client.told_of_a_removal)
        }),
    ]
}

fn sleeps(world: &World, i: usize) -> bool {
    matches!(world.clients[i].doing, Doing::Watching(_))
}

/// Without these a model may be right because nothing happens in it.
fn sometimes() -> Vec<Property<Lock>> {
    vec![
        Property::sometimes("a grant", |lock: &Lock, world: &World| lock.valid(world).next().is_some()),
        Property::sometimes("a grant after a lost answer", |lock: &Lock, world: &World| {
            lock.timed.is_some() || lock.valid(world).any(|i| world.clients[i].lost_reply)
        }),
        Property::sometimes("a grant after an expiry", |lock: &Lock, world: &World| {
            let mut sessions = world.clients.iter().flat_map(|client| &client.sessions);
            sessions.any(|session| session.ended) && lock.valid(world).next().is_some()
        }),
        Property::sometimes("a grant after a crash", |lock: &Lock, world: &World| {
            lock.timed.is_some()
                || world.clients.iter().any(|client| client.crashed) && lock.valid(world).next().is_some()
        }),
        Property::sometimes("a grant on the second session of a client", |lock: &Lock, world: &World| {
            lock.timed.is_some() || lock.valid(world).any(|i| world.clients[i].sessions.len() > 1)
        }),
        Property::sometimes("a grant beside a late request", |lock: &Lock, world: &World| {
            let over = world.clients.iter().filter(|client| client.doing == Doing::Over);
            let late = over.flat_map(|client| &client.sessions).any(|session| session.late_enqueue);
            lock.timed.is_some() || late && lock.valid(world).next().is_some()
        }),
        Property::sometimes("a grant after a look at the past", |lock: &Lock, world: &World| {
            lock.timed.is_some() || lock.valid(world).any(|i| world.clients[i].read_the_past)
        }),
        Property::sometimes("a guard that is lost while it is held", |_: &Lock, world: &World| {
            world.clients.iter().any(|client| client.doing == Doing::Holding && client.loss().is_some())
        }),
        Property::sometimes(
            "a guard that outlives the first time of its session",
            |lock: &Lock, world: &World| {
                let outlives = |i: usize| world.clients[i].sessions.iter().any(|s| s.now >= Session::GRANTED);
                lock.timed.is_none() || lock.valid(world).any(outlives)
            },
        ),
        Property::sometimes("everybody is done and nothing is left", |lock: &Lock, world: &World| {
            let over = world.clients.iter().all(|client| client.doing == Doing::Over);
            lock.timed.is_some() || over && lock.quiet(world) && world.queue.is_empty()
        }),
    ]
}
