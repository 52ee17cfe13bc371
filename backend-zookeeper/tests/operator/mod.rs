//! Somebody who removes entries by hand.

use async_trait::async_trait;
use conformance::Operator;
use lockcore::{EntryId, ErrorKind, LockKey, Result};
use zookeeper_client::Client;

/// Somebody with a shell of ZooKeeper's.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) address: String,
}

#[async_trait]
impl Operator for Shell {
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let failed = |error| lockcore::Error::new(ErrorKind::Backend, "the shell failed").with_source(error);
        let client = Client::connect(&self.address).await.map_err(failed)?;
        let directory = format!("/conformance/_zklocking/{}", lock.name.encode());
        for node in client.list_children(&directory).await.map_err(failed)? {
            let path = format!("{directory}/{node}");
            let (data, _) = client.get_data(&path).await.map_err(failed)?;
            if data.starts_with(id.as_str().as_bytes()) {
                client.delete(&path, None).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}
