//! What a cluster sends elsewhere.
//!
//! The client library could follow a redirection too, but it sends `ASKING` and the request one after the other on a connection that
//! others share: whatever comes between is asked for instead, and the request is sent back. It does not go to a node that has no
//! slots yet. And it can do so only if it may also repeat requests of which it does not know whether they were executed.

use std::collections::HashMap;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Mutex;

use crate::client::Access;
use crate::error::needs_reconnect;

/// Connections to the nodes to which requests were redirected.
pub(crate) struct Redirects {
    access: Access,
    config: AsyncConnectionConfig,
    connections: Mutex<HashMap<String, MultiplexedConnection>>,
}

impl Redirects {
    /// How often one request is sent elsewhere: a slot may move on while we follow it.
    const MOST: u32 = 5;

    pub(crate) fn new(access: Access, config: AsyncConnectionConfig) -> Self {
        Self { access, config, connections: Mutex::default() }
    }

    /// The answer of whoever has the key, if this one is that somebody else has it.
    pub(crate) async fn follow(&self, command: &Cmd, answer: RedisResult<Value>) -> RedisResult<Value> {
        let mut answer = answer.and_then(Value::extract_error);
        for _ in 0..Self::MOST {
            match answer {
                Err(error) if error.redirect_node().is_some() => answer = self.send(command, &error).await,
                answer => return answer,
            }
        }
        answer
    }

    async fn send(&self, command: &Cmd, redirection: &RedisError) -> RedisResult<Value> {
        let address = redirection.redirect_node().map(|(address, _)| address).unwrap_or_default();
        let asking = redirection.kind() == ServerErrorKind::Ask.into();
        let mut pipeline = Pipeline::new();
        if asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(command.clone());
        let mut connection = self.connection(address).await?;
        let answers = connection.req_packed_commands(&pipeline, usize::from(asking), 1).await;
        match answers.map(|mut answers| answers.pop().unwrap_or(Value::Nil)) {
            Err(error) if needs_reconnect(&error) => {
                self.connections.lock().await.remove(address);
                Err(error)
            }
            answer => answer.and_then(Value::extract_error),
        }
    }

    async fn connection(&self, address: &str) -> RedisResult<MultiplexedConnection> {
        let mut connections = self.connections.lock().await;
        if let Some(connection) = connections.get(address) {
            return Ok(connection.clone());
        }
        let client = self.access.client(address)?;
        let connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        connections.insert(address.to_owned(), connection.clone());
        Ok(connection)
    }
}
