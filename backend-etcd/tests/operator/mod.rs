//! Somebody who removes entries by hand.

use async_trait::async_trait;
use conformance::Operator;
use etcd_client::{Client, GetOptions};
use lockcore::{EntryId, ErrorKind, LockKey, Result};

/// Somebody with a shell of etcd's.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) address: String,
}

#[async_trait]
impl Operator for Shell {
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let failed = |error| lockcore::Error::new(ErrorKind::Backend, "the shell failed").with_source(error);
        let mut client = Client::connect([&self.address], None).await.map_err(failed)?;
        let prefix = format!("/conformance/{}/{}/", lock.family, lock.name.encode());
        let entries = client.get(prefix, Some(GetOptions::new().with_prefix())).await.map_err(failed)?;
        for entry in entries.kvs().iter().filter(|entry| entry.value().starts_with(id.as_str().as_bytes())) {
            client.delete(entry.key(), None).await.map_err(failed)?;
        }
        Ok(())
    }
}
