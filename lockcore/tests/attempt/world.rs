//! The world of the model: one server, a few clients, and whatever can happen to them next.

use lockcore::queue::attempt::{End, Event, Failure, Next, Step};
use lockcore::queue::{Standing, standing};
use lockcore::{EntryId, EntryKind, Error, ErrorKind, QueuedEntry, Revision};

use super::client::{Answer, Client, Doing, Life, Owner, Request, Session, id, owner_of};

/// One entry on the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Queued {
    pub(super) owner: Owner,
    pub(super) token: u8,
}

/// The state of the whole world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) queue: Vec<Queued>,
    pub(super) tokens: u8,
    pub(super) clients: Vec<Client>,
    pub(super) faults_left: u8,
    /// The highest token that was granted, and whether a lower one came after it.
    pub(super) granted: u8,
    pub(super) overtaken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    // What happens by itself, sooner or later.
    Start(usize),
    Open(usize),
    Execute(usize),
    Answer(usize),
    Wake(usize),
    Tell(usize),
    Resume(usize),
    LateEnqueue(Owner),
    LateEnqueueVanishes(Owner),
    Remove(usize),
    TellLoss(usize),
    Expire(Owner),
    // What the user does.
    Release(usize),
    Cancel(usize),
    TimeOut(usize),
    // What may go wrong.
    WakeForNothing(usize),
    LoseAnswer(usize),
    LoseRequest(usize),
    Refuse(usize),
    LoseLease(usize),
    Meddle(usize),
}

/// A mistake in whoever runs the attempt, or in the server, for the checker to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// A cancelled enqueue is not removed.
    ForgetsResidue,
    /// The session ends at the server while the client still believes in it.
    ExpiresTooEarly,
    /// A watch says nothing of who left before it was set.
    WatchMissesThePast,
    /// A waiter watches one of those it waits for.
    WatchesOnlyOne,
    /// An enqueue that is repeated appends a second entry.
    EnqueuesTwice,
    /// A removal does not stop a request that was sent before it.
    RemovalIsNotFinal,
    /// The answer counts although the lease is lost by the time it is heard.
    GrantsWithALostLease,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asks {
    pub(super) kind: EntryKind,
    pub(super) waits: bool,
    pub(super) requeues: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Lock {
    pub(super) clients: Vec<Asks>,
    pub(super) faults: u8,
    /// Somebody may remove a waiter's entry by hand.
    pub(super) meddling: bool,
    pub(super) bug: Bug,
}

impl Lock {
    pub(super) fn kind(&self, client: usize) -> EntryKind {
        self.clients[client].kind
    }

    /// Where the entry on the client's session in use stands.
    pub(super) fn standing(&self, world: &World, client: usize) -> Standing {
        let entries: Vec<QueuedEntry> = world
            .queue
            .iter()
            .map(|queued| QueuedEntry { id: id(queued.owner), kind: self.kind(queued.owner.0) })
            .collect();
        standing(&entries, &id(world.owner(client)), Revision::default())
    }

    fn append(&self, world: &mut World, owner: Owner) {
        if gone(world, owner) || self.bug == Bug::EnqueuesTwice {
            world.tokens += 1;
            world.queue.push(Queued { owner, token: world.tokens });
        }
    }

    fn execute(&self, world: &mut World, client: usize, request: Request) -> Answer {
        let owner = world.owner(client);
        if request == Request::Enqueue {
            self.append(world, owner);
        }
        let token = world.queue.iter().find(|queued| queued.owner == owner).map(|queued| queued.token);
        match self.standing(world, client) {
            Standing::Holds => Answer::Holds(token),
            Standing::Waits { wake, .. } => Answer::Waits(token, wake.iter().map(owner_of).collect()),
            Standing::Absent | Standing::LimitMismatch { .. } => Answer::Absent,
        }
    }

    fn answer(&self, world: &mut World, client: usize, request: Request) {
        let answer = self.execute(world, client, request);
        world.clients[client].doing = Doing::Asking(request, Some(answer));
    }

    /// What will happen by itself, however long it takes; a holder may hold for ever.
    pub(super) fn progress(&self, world: &World, actions: &mut Vec<Action>) {
        for (i, client) in world.clients.iter().enumerate() {
            let reachable = client.life() != Some(Life::Ended);
            match &client.doing {
                Doing::Nothing => actions.push(Action::Start(i)),
                Doing::Opening => actions.push(Action::Open(i)),
                Doing::Asking(_, None) if reachable => actions.push(Action::Execute(i)),
                Doing::Asking(_, Some(_)) => actions.push(Action::Answer(i)),
                Doing::Watching(wake) if reachable && wake.iter().any(|other| gone(world, *other)) => {
                    actions.extend([Action::Wake(i), Action::Tell(i)]);
                }
                Doing::Pausing => actions.push(Action::Resume(i)),
                _ => {}
            }
            for (number, session) in client.sessions.iter().enumerate() {
                if session.late_enqueue {
                    actions
                        .extend([Action::LateEnqueue((i, number)), Action::LateEnqueueVanishes((i, number))]);
                }
                if session.life == Life::Lost {
                    actions.push(Action::Expire((i, number)));
                }
            }
            if client.to_be_removed {
                actions.push(Action::Remove(i));
            }
            if client.loss().is_some() && client.runs() {
                actions.push(Action::TellLoss(i));
            }
        }
    }

    pub(super) fn choices(&self, world: &World, actions: &mut Vec<Action>) {
        for (i, client) in world.clients.iter().enumerate() {
            if client.doing == Doing::Holding {
                actions.push(Action::Release(i));
            }
            if client.runs() {
                actions.extend([Action::Cancel(i), Action::TimeOut(i)]);
            }
            if matches!(client.doing, Doing::Watching(_)) {
                actions.push(Action::WakeForNothing(i));
            }
        }
    }

    pub(super) fn faults(&self, world: &World, actions: &mut Vec<Action>) {
        if world.faults_left == 0 {
            return;
        }
        for (i, client) in world.clients.iter().enumerate() {
            match &client.doing {
                Doing::Asking(_, Some(_)) => actions.push(Action::LoseAnswer(i)),
                Doing::Opening => actions.push(Action::Refuse(i)),
                Doing::Asking(_, None) => actions.extend([Action::LoseRequest(i), Action::Refuse(i)]),
                Doing::Watching(_) if self.meddling => actions.push(Action::Meddle(i)),
                _ => {}
            }
            if client.has_place && client.life() == Some(Life::Live) && client.doing != Doing::Over {
                actions.push(Action::LoseLease(i));
                if self.bug == Bug::ExpiresTooEarly {
                    actions.push(Action::Expire(world.owner(i)));
                }
            }
        }
    }

    pub(super) fn quiet(&self, world: &World) -> bool {
        let mut actions = Vec::new();
        self.progress(world, &mut actions);
        actions.is_empty()
    }

    pub(super) fn apply(&self, world: &mut World, action: Action) {
        match action {
            Action::Start(i) => {
                let next = world.clients[i].attempt.begin();
                self.follow(world, i, next);
            }
            Action::Open(i) => {
                let event = world.clients[i].open();
                self.on(world, i, event);
            }
            Action::Execute(i) => {
                if let Doing::Asking(request, _) = world.clients[i].doing {
                    self.answer(world, i, request);
                }
            }
            Action::Answer(i) => {
                let event = world.clients[i].hear();
                self.on(world, i, event);
            }
            Action::Wake(i) | Action::WakeForNothing(i) | Action::Resume(i) => {
                self.on(world, i, Event::Woken)
            }
            // As if it had been asked.
            Action::Tell(i) => self.answer(world, i, Request::Look),
            Action::LateEnqueue(owner) => {
                let session = world.session(owner);
                session.late_enqueue = false;
                if session.life != Life::Ended {
                    self.append(world, owner);
                }
            }
            Action::LateEnqueueVanishes(owner) => world.session(owner).late_enqueue = false,
            Action::Remove(i) => {
                let owner = world.owner(i);
                remove(world, owner);
                world.clients[i].to_be_removed = false;
                world.session(owner).late_enqueue &= self.bug == Bug::RemovalIsNotFinal;
            }
            Action::TellLoss(i) => {
                world.clients[i].abandon();
                self.on(world, i, Event::Woken);
            }
            Action::Expire(owner) => {
                world.queue.retain(|queued| queued.owner != owner);
                let session = world.session(owner);
                session.late_enqueue = false;
                if session.life == Life::Lost {
                    session.life = Life::Ended;
                }
            }
            Action::Release(i) => {
                world.clients[i].doing = Doing::Over;
                world.clients[i].to_be_removed = true;
            }
            Action::Cancel(i) => self.cancel(&mut world.clients[i]),
            Action::TimeOut(i) => {
                world.clients[i].abandon();
                self.on(world, i, Event::OutOfTime);
            }
            _ => self.go_wrong(world, action),
        }
    }

    fn go_wrong(&self, world: &mut World, action: Action) {
        world.faults_left -= 1;
        let failed = |kind| Event::Failed(Failure::from(&Error::new(kind, "")));
        match action {
            Action::LoseAnswer(i) => {
                world.clients[i].lost_reply = true;
                self.on(world, i, failed(ErrorKind::Unreachable));
            }
            Action::LoseRequest(i) => {
                world.clients[i].abandon();
                self.on(world, i, failed(ErrorKind::Unreachable));
            }
            Action::Refuse(i) => {
                self.on(world, i, failed(ErrorKind::PermissionDenied));
            }
            Action::LoseLease(i) => {
                let owner = world.owner(i);
                world.session(owner).life = Life::Lost;
            }
            Action::Meddle(i) => {
                let owner = world.owner(i);
                remove(world, owner);
                world.clients[i].meddled = true;
            }
            _ => unreachable!("{action:?} is no fault"),
        }
    }

    fn on(&self, world: &mut World, i: usize, event: Event) {
        let client = &mut world.clients[i];
        let blind = self.bug == Bug::GrantsWithALostLease && matches!(event, Event::Stands(_));
        let loss = client.loss().filter(|_| !blind);
        let next = client.attempt.on(event, loss);
        // As in the library: whoever goes on after a loss has no place any more.
        client.has_place &= loss.is_none() || !matches!(next, Next::Do(_));
        self.follow(world, i, next);
    }

    fn follow(&self, world: &mut World, i: usize, next: Next) {
        let doing = match next {
            Next::Do(Step::Open) => Doing::Opening,
            Next::Do(Step::Enqueue) => Doing::Asking(Request::Enqueue, None),
            Next::Do(Step::Look) => Doing::Asking(Request::Look, None),
            Next::Do(Step::Pause) => Doing::Pausing,
            Next::Do(Step::Watch { wake, .. }) => Doing::Watching(self.watched(world, &wake)),
            Next::Grant => return grant(world, i),
            Next::End(end) => {
                assert!(!matches!(end, End::LimitMismatch { .. }), "all agree on the limit");
                Doing::Over
            }
        };
        let client = &mut world.clients[i];
        client.to_be_removed |= doing == Doing::Over && client.attempt.may_have_entry();
        client.doing = doing;
    }

    fn watched(&self, world: &World, wake: &[EntryId]) -> Vec<Owner> {
        let mut wake: Vec<Owner> = wake.iter().map(owner_of).collect();
        match self.bug {
            Bug::WatchesOnlyOne => wake.truncate(1),
            Bug::WatchMissesThePast => wake.retain(|other| !gone(world, *other)),
            _ => {}
        }
        wake
    }

    fn cancel(&self, client: &mut Client) {
        client.abandon();
        let forgotten = self.bug == Bug::ForgetsResidue && client.token.is_none();
        client.to_be_removed = client.attempt.may_have_entry() && !forgotten;
        client.doing = Doing::Over;
    }

    /// Those whose guard says that it is valid.
    pub(super) fn valid<'w>(&'w self, world: &'w World) -> impl Iterator<Item = usize> + 'w {
        let clients = world.clients.iter().enumerate();
        clients
            .filter(|(_, client)| client.doing == Doing::Holding && client.loss().is_none())
            .map(|(i, _)| i)
    }
}

impl World {
    /// Who owns an entry that this client makes now.
    pub(super) fn owner(&self, client: usize) -> Owner {
        (client, self.clients[client].current())
    }

    fn session(&mut self, (client, session): Owner) -> &mut Session {
        &mut self.clients[client].sessions[session]
    }
}

fn grant(world: &mut World, i: usize) {
    let client = &mut world.clients[i];
    client.doing = Doing::Holding;
    client.granted_too_late = client.loss().is_some();
    let token = client.token.expect("a grant comes after an answer with a token");
    world.overtaken |= token < world.granted;
    world.granted = world.granted.max(token);
}

pub(super) fn gone(world: &World, owner: Owner) -> bool {
    world.queue.iter().all(|queued| queued.owner != owner)
}

fn remove(world: &mut World, owner: Owner) {
    let position = world.queue.iter().position(|queued| queued.owner == owner);
    position.map(|position| world.queue.remove(position));
}
