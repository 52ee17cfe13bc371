//! `fairlock top`: all locks of a service, live.

mod screen;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fairlock::{DistributedLock, Family, LockKey, LockService, QueueEntry, QueueView, Result as LockResult};
use futures::stream::{self, StreamExt};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::{Clear, TableState};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::exit::{Failure, USAGE};
use crate::service::looking;

pub(crate) async fn top(url: Option<&str>) -> Result<ExitCode, Failure> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        let message = "top needs a terminal; fairlock list --json and fairlock queue --json do not";
        return Err(Failure::new(USAGE, message));
    }
    looking(url, on_screen).await?;
    Ok(ExitCode::SUCCESS)
}

async fn on_screen(service: &dyn LockService) -> Result<(), Failure> {
    let mut terminal = ratatui::try_init()?;
    let ended = Top::new(service).run(&mut terminal).await;
    ratatui::try_restore()?;
    ended
}

/// A lock, and who stands in its queue.
#[derive(Debug)]
struct Row {
    key: LockKey,
    queue: QueueView,
}

impl Row {
    fn waiters(&self) -> usize {
        self.queue.iter().filter(|entry| !entry.holds).count()
    }
}

/// What is shown.
struct Top<'s> {
    service: &'s dyn LockService,
    /// Those with most waiters first.
    rows: Vec<Row>,
    chosen: TableState,
    /// The lock that is looked into, and the entry that is chosen there.
    open: Option<(LockKey, TableState)>,
    /// The entry that is taken away if the answer is yes.
    question: Option<QueueEntry>,
    trouble: Option<String>,
}

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many queues are read at once.
const AT_ONCE: usize = 16;

impl<'s> Top<'s> {
    fn new(service: &'s dyn LockService) -> Self {
        let chosen = TableState::default().with_selected(0);
        Self { service, rows: Vec::new(), chosen, open: None, question: None, trouble: None }
    }

    async fn run(&mut self, terminal: &mut ratatui::DefaultTerminal) -> Result<(), Failure> {
        let (mut keys, mut looks) = (keys(), tokio::time::interval(INTERVAL));
        loop {
            tokio::select! {
                _ = looks.tick() => self.look().await,
                key = keys.recv() => match key {
                    Some(key) if self.press(key).await => return Ok(()),
                    // All is drawn anew: others may have written there.
                    Some(_) => {
                        terminal.draw(|frame| frame.render_widget(Clear, frame.area()))?;
                    }
                    None => return Ok(()),
                },
            }
            terminal.draw(|frame| self.draw(frame))?;
        }
    }

    /// Reads all queues. What goes wrong is shown, and tried again.
    async fn look(&mut self) {
        match self.read().await {
            Ok(rows) => (self.rows, self.trouble) = (rows, None),
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    async fn read(&self) -> LockResult<Vec<Row>> {
        let read = async |key: LockKey| -> LockResult<Row> {
            let queue = self.lock(&key)?.queue().await?;
            Ok(Row { key, queue })
        };
        let keys = self.service.names().await?;
        let read: Vec<_> = stream::iter(keys.into_iter().map(read)).buffer_unordered(AT_ONCE).collect().await;
        let mut rows = read.into_iter().collect::<LockResult<Vec<_>>>()?;
        rows.retain(|row| !row.queue.is_empty());
        rows.sort_by(|one, two| two.waiters().cmp(&one.waiters()).then_with(|| one.key.cmp(&two.key)));
        Ok(rows)
    }

    fn lock(&self, key: &LockKey) -> LockResult<Arc<dyn DistributedLock>> {
        match key.family {
            Family::Lock => self.service.exclusive(key.name.as_str()),
            // How many permits it has, those in the queue tell.
            Family::Semaphore => self.service.semaphore(key.name.as_str(), 1),
        }
    }

    /// The queue that is looked into; empty if nobody is in it any more.
    fn opened(&self) -> Option<(&LockKey, &[QueueEntry])> {
        let (key, _) = self.open.as_ref()?;
        let row = self.rows.iter().find(|row| row.key == *key);
        Some((key, row.map_or(&[], |row| &row.queue.entries)))
    }

    /// Whether this ends all.
    async fn press(&mut self, key: KeyEvent) -> bool {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return true;
        }
        if let Some(entry) = self.question.take() {
            if key.code == KeyCode::Char('y') {
                self.evict(&entry).await;
            }
            return false;
        }
        let table = self.open.as_mut().map_or(&mut self.chosen, |(_, table)| table);
        match key.code {
            KeyCode::Down | KeyCode::Char('j') => table.select_next(),
            KeyCode::Up | KeyCode::Char('k') => table.select_previous(),
            KeyCode::Char('q') => return true,
            KeyCode::Esc | KeyCode::Left if self.open.is_none() => return key.code == KeyCode::Esc,
            KeyCode::Esc | KeyCode::Left => self.open = None,
            KeyCode::Enter | KeyCode::Right if self.open.is_none() => self.open_chosen(),
            KeyCode::Char('x') => self.question = self.chosen_entry(),
            _ => {}
        }
        false
    }

    fn open_chosen(&mut self) {
        let row = self.chosen.selected().and_then(|chosen| self.rows.get(chosen));
        self.open = row.map(|row| (row.key.clone(), TableState::default().with_selected(0)));
    }

    fn chosen_entry(&self) -> Option<QueueEntry> {
        let chosen = self.open.as_ref()?.1.selected()?;
        self.opened()?.1.get(chosen).cloned()
    }

    async fn evict(&mut self, entry: &QueueEntry) {
        let Some((key, _)) = &self.open else { return };
        let evicted = match self.lock(key) {
            Ok(lock) => lock.evict(&entry.id).await,
            Err(error) => Err(error),
        };
        self.look().await;
        self.trouble = evicted.err().map(|error| error.to_string());
    }
}

/// The keys that are pressed, from a thread that waits for them.
fn keys() -> UnboundedReceiver<KeyEvent> {
    /// How often to see whether anybody still wants them.
    const PAUSE: Duration = Duration::from_millis(100);
    let (sender, keys) = unbounded_channel();
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(PAUSE).and_then(|come| come.then(event::read).transpose()) {
                Ok(Some(Event::Key(key))) if key.kind == KeyEventKind::Press => drop(sender.send(key)),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    keys
}
