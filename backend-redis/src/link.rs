//! One connection for requests, to one server or to all masters of a cluster.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value, cmd, from_redis_value};

use crate::redirects::Redirects;

/// A connection. Clones share it.
#[derive(Clone)]
pub(crate) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection, Arc<Redirects>),
}

/// What one node answers to a `SCAN`: where to go on, 0 for nowhere, and keys.
type Batch = (u64, Vec<String>);

impl Link {
    async fn send(&mut self, command: Cmd, routing: SingleNodeRoutingInfo) -> RedisResult<Value> {
        match self {
            Link::One(link) => link.send_packed_command(&command).await?,
            Link::Cluster(link, _) => link.route_command(command, RoutingInfo::SingleNode(routing)).await?,
        }
        .extract_error()
    }

    /// What any server answers to a command without a key.
    pub(crate) async fn ask_any(&mut self, command: Cmd) -> RedisResult<Value> {
        self.send(command, SingleNodeRoutingInfo::RandomPrimary).await
    }

    /// How many replicas confirm what this connection wrote on the server that has this key; waits until there are
    /// so many, but not for longer than `limit`.
    pub(crate) async fn wait(&mut self, key: &str, replicas: u32, limit: Duration) -> RedisResult<u32> {
        let mut command = cmd("WAIT");
        command.arg(replicas).arg(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1));
        let node = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
        Ok(from_redis_value(self.send(command, node).await?)?)
    }

    /// All keys that match, on all masters.
    pub(crate) async fn scan(&mut self, pattern: &str) -> RedisResult<Vec<String>> {
        let mut keys = Vec::new();
        for (address, (mut cursor, batch)) in self.first_batches(pattern).await? {
            keys.extend(batch);
            while cursor != 0 {
                let answer = self.send(scan(cursor, pattern), address.clone()).await?;
                let (next, batch): Batch = from_redis_value(answer)?;
                keys.extend(batch);
                cursor = next;
            }
        }
        Ok(keys)
    }

    async fn first_batches(&mut self, pattern: &str) -> RedisResult<Vec<(SingleNodeRoutingInfo, Batch)>> {
        let Link::Cluster(link, _) = self else {
            let answer = self.ask_any(scan(0, pattern)).await?;
            return Ok(vec![(SingleNodeRoutingInfo::RandomPrimary, from_redis_value(answer)?)]);
        };
        let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = link.route_command(scan(0, pattern), masters).await?.extract_error()?;
        let answers: Vec<(String, Batch)> = from_redis_value(answers)?;
        let address = |address: String| {
            let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
            let port = port.parse().unwrap_or_default();
            SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port }
        };
        Ok(answers.into_iter().map(|(node, batch)| (address(node), batch)).collect())
    }
}

fn scan(cursor: u64, pattern: &str) -> Cmd {
    let mut command = cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
    command
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::One(link) => link.req_packed_command(cmd),
            Link::Cluster(link, redirects) => async move {
                let answer = link.req_packed_command(cmd).await;
                redirects.follow(cmd, answer).await
            }
            .boxed(),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::One(link) => link.req_packed_commands(pipeline, offset, count),
            Link::Cluster(link, _) => link.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Link::One(link) => link.get_db(),
            Link::Cluster(link, _) => link.get_db(),
        }
    }
}
