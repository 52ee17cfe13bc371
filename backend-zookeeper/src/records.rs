//! Records: a persistent node for each lock, apart from the queues, whose directories come and go.

use std::time::SystemTime;

use lockcore::{FencingToken, LockKey, Record, Recorded, Result};
use zookeeper_client::{CreateMode, Error as ClientError};

use crate::connection::Connection;
use crate::layout::{record_path, records_path};
use crate::session::ZooKeeperSession;

impl ZooKeeperSession {
    pub(crate) async fn read_record(&self, lock: &LockKey) -> Result<Recorded> {
        let connection = self.link.connection().await?;
        let record = found(&connection, &record_path(&self.root, lock)).await?.and_then(|(record, _)| record);
        Ok(Recorded { record, now: SystemTime::now() })
    }

    pub(crate) async fn write_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        let (path, data) = (record_path(&self.root, lock), Record::encode(token, text));
        loop {
            let connection = self.link.connection().await?;
            let written = match found(&connection, &path).await? {
                Some((Some(record), _)) if record.token > token => return Ok(false),
                Some((_, version)) => {
                    let set = connection.client().set_data(&path, data.as_bytes(), Some(version)).await;
                    set.map(drop)
                }
                None => {
                    let persistent = CreateMode::Persistent.with_acls(self.acls);
                    let created = connection.client().create(&path, data.as_bytes(), &persistent).await;
                    created.map(drop)
                }
            };
            match written {
                Ok(()) => return Ok(true),
                // Others were faster, or it was removed by hand.
                Err(ClientError::BadVersion | ClientError::NodeExists) => {}
                Err(ClientError::NoNode) => self.make_records(&connection, lock).await?,
                Err(source) => return Err(connection.error("record in", &path, source)),
            }
        }
    }

    async fn make_records(&self, connection: &Connection, lock: &LockKey) -> Result<()> {
        let directory = records_path(&self.root, lock.family);
        let persistent = CreateMode::Persistent.with_acls(self.ancestor_acls);
        let made = connection.client().mkdir(&directory, &persistent).await;
        made.map_err(|source| connection.error("create", &directory, source))
    }
}

/// The record in this node, if it is one, and the node's version; `None` if there is no node.
async fn found(connection: &Connection, path: &str) -> Result<Option<(Option<Record>, i32)>> {
    match connection.client().get_data(path).await {
        Ok((data, stat)) => Ok(Some((Record::decode(&data), stat.version))),
        Err(ClientError::NoNode) => Ok(None),
        Err(source) => Err(connection.error("read", path, source)),
    }
}
