//! The world of the model: one server, a few clients, and what each move makes of them.

use lockcore::queue::attempt::{End, Event, Failure, Next, Step, Turn};
use lockcore::queue::{Standing, standing};
use lockcore::{EntryId, EntryKind, Error, ErrorKind, QueuedEntry, Revision};

use super::client::{Answer, Client, Doing, Owner, Renewal, Request, Session, id, owner_of};
use super::moves::Action;

/// One entry on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Queued {
    pub(super) owner: Owner,
    pub(super) token: u8,
}

/// The state of the whole world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) queue: Vec<Queued>,
    /// The last that has left: a server that lags still shows it.
    pub(super) past: Option<Queued>,
    pub(super) tokens: u8,
    pub(super) clients: Vec<Client>,
    pub(super) faults_left: u8,
    /// The highest token that was granted to each weight, and whether a lower one came after it that it excludes.
    pub(super) granted: Vec<(u32, u8)>,
    pub(super) overtaken: bool,
}

/// A mistake in whoever runs the attempt, or in the server, for the checker to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// A cancelled enqueue is not removed.
    ForgetsResidue,
    /// The session ends at the server while the client still believes in it.
    ExpiresTooEarly,
    /// The answer to a renewal is taken for one that was sent just then.
    CountsFromReceipt,
    /// A watch says nothing of who left before it was set.
    WatchMissesThePast,
    /// A waiter watches one of those it waits for.
    WatchesOnlyOne,
    /// Whoever is woken believes that it holds, without a look whether its own entry is still there.
    SkipsItsOwnEntry,
    /// A look shows a queue from before the own entry was in it.
    LooksBeforeItsOwnEntry,
    /// An enqueue that is repeated appends a second entry.
    EnqueuesTwice,
    /// An enqueue takes the entry of an earlier session for its own.
    AdoptsAForeignEntry,
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
    /// The client whose time passes by the second, and how often it renews its session.
    pub(super) timed: Option<usize>,
    pub(super) renewals: u8,
    pub(super) bug: Bug,
    /// The only property that is looked at, if there is one.
    pub(super) only: Option<&'static str>,
}

impl Lock {
    pub(super) fn of(clients: &[Asks], faults: u8, bug: Bug) -> Self {
        Self { clients: clients.to_vec(), faults, meddling: false, timed: None, renewals: 0, bug, only: None }
    }

    pub(super) fn kind(&self, client: usize) -> EntryKind {
        self.clients[client].kind
    }

    /// Where this entry stands in a queue.
    fn standing_of(&self, owner: Owner, queue: impl Iterator<Item = Queued>) -> Standing {
        let entry = |queued: Queued| QueuedEntry { id: id(queued.owner), kind: self.kind(queued.owner.0) };
        let entries: Vec<QueuedEntry> = queue.map(entry).collect();
        standing(&entries, &id(owner), Revision::default())
    }

    /// Where the entry on the client's session in use stands.
    pub(super) fn standing(&self, world: &World, client: usize) -> Standing {
        self.standing_of(world.owner(client), world.queue.iter().copied())
    }

    fn append(&self, world: &mut World, owner: Owner) {
        if gone(world, owner) || self.bug == Bug::EnqueuesTwice {
            world.tokens += 1;
            world.queue.push(Queued { owner, token: world.tokens });
        }
    }

    /// Which entry is taken for the client's own.
    fn taken_for(&self, world: &World, client: usize) -> Owner {
        let foreign = world.queue.iter().find(|queued| queued.owner.0 == client);
        match foreign.filter(|_| self.bug == Bug::AdoptsAForeignEntry) {
            Some(foreign) => foreign.owner,
            None => world.owner(client),
        }
    }

    fn answer(&self, world: &mut World, client: usize, request: Request) {
        let owner = self.taken_for(world, client);
        if request == Request::Enqueue {
            self.append(world, owner);
        }
        let standing = self.standing_of(owner, world.queue.iter().copied());
        self.answered(world, client, request, owner, standing);
    }

    fn answered(&self, world: &mut World, i: usize, request: Request, owner: Owner, standing: Standing) {
        let token = world.queue.iter().find(|queued| queued.owner == owner).map(|queued| queued.token);
        let answer = match standing {
            Standing::Holds => Answer::Holds(token),
            Standing::Waits { wake, .. } => Answer::Waits(token, wake.iter().map(owner_of).collect()),
            Standing::Absent | Standing::LimitMismatch { .. } => Answer::Absent,
        };
        world.clients[i].doing = Doing::Asking(request, Some(answer));
    }

    /// As if it had been asked when the last that has left was still there.
    fn look_at_the_past(&self, world: &mut World, i: usize) {
        let owner = world.owner(i);
        let own = world.queue.iter().find(|queued| queued.owner == owner).map(|queued| queued.token);
        let past = world.past.filter(|past| own.is_some_and(|own| past.token < own));
        let mut queue: Vec<Queued> = world.queue.iter().copied().chain(past).collect();
        queue.sort_by_key(|queued| queued.token);
        if self.bug == Bug::LooksBeforeItsOwnEntry {
            queue.retain(|queued| queued.owner != owner);
        }
        let standing = self.standing_of(owner, queue.into_iter());
        self.answered(world, i, Request::Look, owner, standing);
        world.clients[i].read_the_past |= past.is_some();
    }

    pub(super) fn apply(&self, world: &mut World, action: Action) {
        match action {
            Action::Start(i) => {
                let next = world.clients[i].attempt.begin();
                self.follow(world, i, next);
            }
            Action::Open(i) => {
                let event = world.clients[i].open(self.renewals);
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
                self.on(world, i, Event::Woken);
            }
            Action::Tell(i) if self.bug == Bug::SkipsItsOwnEntry => {
                self.on(world, i, Event::Stands(Standing::Holds));
            }
            // As if it had been asked.
            Action::Tell(i) => self.answer(world, i, Request::Look),
            Action::TellLoss(i) => {
                world.clients[i].abandon();
                self.on(world, i, Event::Woken);
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
            Action::Tick(i)
            | Action::SendRenewal(i)
            | Action::ExecuteRenewal(i)
            | Action::AnswerRenewal(i) => {
                let owner = world.owner(i);
                self.pass_time(world.session(owner), action);
            }
            Action::LateEnqueue(_)
            | Action::LateEnqueueVanishes(_)
            | Action::Remove(_)
            | Action::Expire(_) => {
                self.serve(world, action);
            }
            _ => self.go_wrong(world, action),
        }
    }

    /// What the server does by itself.
    fn serve(&self, world: &mut World, action: Action) {
        match action {
            Action::LateEnqueue(owner) => {
                let session = world.session(owner);
                session.late_enqueue = false;
                if !session.ended {
                    self.append(world, owner);
                }
            }
            Action::LateEnqueueVanishes(owner) => world.session(owner).late_enqueue = false,
            Action::Remove(i) => {
                let owner = world.owner(i);
                world.remove(owner);
                world.clients[i].to_be_removed = false;
                world.session(owner).late_enqueue &= self.bug == Bug::RemovalIsNotFinal;
            }
            Action::Expire(owner) => {
                let early = if self.bug == Bug::ExpiresTooEarly { 2 } else { 0 };
                world.remove(owner);
                let session = world.session(owner);
                session.now = session.now.max(session.server_deadline - early);
                (session.late_enqueue, session.ended) = (false, true);
            }
            _ => unreachable!("{action:?} is not the server's"),
        }
    }

    fn pass_time(&self, session: &mut Session, action: Action) {
        match action {
            Action::Tick(_) => session.now += 1,
            Action::SendRenewal(_) => {
                session.renewal = Some(Renewal { sent: session.now, executed: false });
                session.renewals_left -= 1;
            }
            Action::ExecuteRenewal(_) => {
                session.server_deadline = session.now + Session::GRANTED;
                session.renewal = session.renewal.map(|renewal| Renewal { executed: true, ..renewal });
            }
            _ => session.acknowledge(self.bug == Bug::CountsFromReceipt),
        }
    }

    fn go_wrong(&self, world: &mut World, action: Action) {
        world.faults_left -= 1;
        let failed = |kind| Event::Failed(Failure::from(&Error::new(kind, "")));
        match action {
            Action::LookAtThePast(i) => self.look_at_the_past(world, i),
            Action::LoseAnswer(i) => {
                world.clients[i].lost_reply = true;
                self.on(world, i, failed(ErrorKind::Unreachable));
            }
            Action::LoseRequest(i) => {
                world.clients[i].abandon();
                self.on(world, i, failed(ErrorKind::Unreachable));
            }
            Action::Refuse(i) => self.on(world, i, failed(ErrorKind::PermissionDenied)),
            Action::LoseLease(i) => {
                let owner = world.owner(i);
                let session = world.session(owner);
                session.now = session.believed_until();
            }
            Action::Crash(i) => {
                let client = &mut world.clients[i];
                client.abandon();
                (client.doing, client.crashed, client.to_be_removed) = (Doing::Over, true, false);
            }
            Action::Meddle(i) => {
                let owner = world.owner(i);
                world.remove(owner);
                world.clients[i].meddled = true;
            }
            _ => unreachable!("{action:?} is no fault"),
        }
    }

    fn on(&self, world: &mut World, i: usize, event: Event) {
        let client = &mut world.clients[i];
        let blind =
            self.bug == Bug::GrantsWithALostLease && matches!(event, Event::Enqueued(_) | Event::Stands(_));
        let loss = client.loss().filter(|_| !blind);
        let Turn { next, left, armed } = client.attempt.on(event, loss);
        client.has_place &= left.is_none();
        client.armed = client.has_place && armed;
        client.to_be_removed |= client.armed && matches!(next, Next::End(_));
        self.follow(world, i, next);
    }

    fn follow(&self, world: &mut World, i: usize, next: Next) {
        let doing = match next {
            Next::Do(Step::Open) => Doing::Opening,
            Next::Do(Step::Enqueue) => Doing::Asking(Request::Enqueue, None),
            Next::Do(Step::Look) => Doing::Asking(Request::Look, None),
            Next::Do(Step::Pause) => Doing::Pausing,
            Next::Do(Step::Watch { wake, .. }) => Doing::Watching(self.watched(world, &wake)),
            Next::Grant(token) => return self.grant(world, i, token.get()),
            Next::End(end) => {
                assert!(!matches!(end, End::LimitMismatch { .. }), "all agree on the limit");
                world.clients[i].told_of_a_removal |= end == End::EntryRemoved;
                Doing::Over
            }
        };
        world.clients[i].doing = doing;
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

    /// The place is dropped.
    fn cancel(&self, client: &mut Client) {
        let unknown = matches!(client.doing, Doing::Asking(Request::Enqueue, _));
        client.abandon();
        client.to_be_removed = client.armed && !(self.bug == Bug::ForgetsResidue && unknown);
        client.doing = Doing::Over;
    }

    fn grant(&self, world: &mut World, i: usize, token: u64) {
        let kind = self.kind(i);
        let token = u8::try_from(token).expect("the server gives small ones");
        let client = &mut world.clients[i];
        (client.doing, client.token) = (Doing::Holding, Some(token));
        client.granted_too_late = client.loss().is_some();
        let excludes = |weight: u32| u64::from(weight) + u64::from(kind.weight()) > u64::from(kind.limit());
        world.overtaken |= world.granted.iter().any(|(weight, other)| excludes(*weight) && *other >= token);
        match world.granted.iter_mut().find(|(weight, _)| *weight == kind.weight()) {
            Some((_, highest)) => *highest = token.max(*highest),
            None => world.granted.push((kind.weight(), token)),
        }
        world.granted.sort_unstable();
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
    pub(super) fn new(lock: &Lock) -> Self {
        Self {
            queue: Vec::new(),
            past: None,
            tokens: 0,
            clients: lock.clients.iter().map(|asks| Client::new(asks.waits, asks.requeues)).collect(),
            faults_left: lock.faults,
            granted: Vec::new(),
            overtaken: false,
        }
    }

    /// Who owns an entry that this client makes now.
    pub(super) fn owner(&self, client: usize) -> Owner {
        (client, self.clients[client].current())
    }

    pub(super) fn session(&mut self, (client, session): Owner) -> &mut Session {
        &mut self.clients[client].sessions[session]
    }

    fn remove(&mut self, owner: Owner) {
        if let Some(position) = self.queue.iter().position(|queued| queued.owner == owner) {
            self.past = Some(self.queue.remove(position)).filter(|_| self.faults_left > 0);
        }
    }
}

pub(super) fn gone(world: &World, owner: Owner) -> bool {
    world.queue.iter().all(|queued| queued.owner != owner)
}
