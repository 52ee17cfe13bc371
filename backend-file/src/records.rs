//! Records: a file of each lock, apart from the queues, whose directories come and go.

use std::io::Read;
use std::time::{Duration, SystemTime};

use lockcore::{Effect, Error, ErrorKind, FencingToken, LockKey, Record, Recorded, Result};

use crate::directory::{Directory, Lock, lock as lock_file};
use crate::layout::{LockDirectory, RECORDS, TURN, family_name};
use crate::root::Root;
use crate::session::FileSession;

/// For how many attempts somebody may keep others from writing: two seconds or so. He does it in an instant, unless he is stopped.
const ATTEMPTS: usize = 400;
const PAUSE: Duration = Duration::from_millis(5);

impl FileSession {
    pub(crate) async fn read_record(&self, lock: &LockKey) -> Result<Recorded> {
        let lock = lock.clone();
        let record = self.blocking(move |root| root.record(&lock)).await?;
        Ok(Recorded { record, now: SystemTime::now() })
    }

    pub(crate) async fn write_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let (lock, text) = (lock.clone(), text.to_owned());
            if let Some(set) = self.blocking(move |root| root.set_record(&lock, token, &text)).await? {
                return Ok(set);
            }
            tokio::time::sleep(PAUSE).await;
        }
        let message = format!(
            "another process, perhaps a stopped one, keeps others from the record of {:?}",
            lock.name
        );
        Err(Error::new(ErrorKind::Backend, message).with_effect(Effect::None).with_retryable(true))
    }
}

impl Root {
    fn record(&self, lock: &LockKey) -> Result<Option<Record>> {
        let Some(root) = self.open()? else { return Ok(None) };
        let Some(records) = root.enter(RECORDS)? else { return Ok(None) };
        let family = records.enter(family_name(lock.family))?;
        family.map_or(Ok(None), |family| record(&family, lock))
    }

    /// Sets the record, unless it is of a later holder; whether it did. `None` if it is another's turn.
    fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<Option<bool>> {
        let root = self.open_or_make()?;
        let Some(records) = root.enter_or_make(RECORDS)? else { return Ok(None) };
        let Some(family) = records.enter_or_make(family_name(lock.family))? else { return Ok(None) };
        let Some(turn) = family.change(TURN)? else { return family.publish_first(TURN, "").map(|_| None) };
        let ours = lock_file(&turn, Lock::Exclusive).map_err(|errno| family.failed("lock", TURN, errno))?;
        if !ours || !family.is(TURN, &turn)? {
            return Ok(None);
        }
        if record(&family, lock)?.is_some_and(|record| record.token > token) {
            return Ok(Some(false));
        }
        let set = family.publish(LockDirectory::of(&lock.name).as_str(), &Record::encode(token, text))?;
        Ok(set.then_some(true))
    }
}

fn record(family: &Directory, lock: &LockKey) -> Result<Option<Record>> {
    let name = LockDirectory::of(&lock.name);
    let Some(mut file) = family.read(name.as_str())? else { return Ok(None) };
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(|error| family.failed("read", name.as_str(), error))?;
    Ok(Record::decode(&text))
}
