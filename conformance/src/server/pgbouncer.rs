//! PgBouncer from Debian's package.

use std::fs;
use std::io;
use std::ops::Deref;

use super::control::{Server, check_installed, on_free_ports};
use super::postgres::Postgres;
use super::postgres_user::{USER, as_server, give_away, new_directory, text};

/// PgBouncer in front of a server.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

impl Deref for PgBouncer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl PgBouncer {
    /// Starts one in this mode: `session`, `transaction` or `statement`.
    ///
    /// # Errors
    ///
    /// If PgBouncer is not installed, or does not start; then with the end of its log.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start(upstream: &Postgres, mode: &str) -> io::Result<Self> {
        check_installed("PgBouncer", &["/usr/sbin/pgbouncer"])?;
        on_free_ports(1, async |ports| Self::start_on(ports[0], upstream, mode).await).await
    }

    async fn start_on(port: u16, upstream: &Postgres, mode: &str) -> io::Result<Self> {
        let directory = new_directory()?;
        let file = directory.path().join("pgbouncer.ini");
        let (host, upstream) = upstream.address().rsplit_once(':').unwrap_or_default();
        let config = format!(
            "[databases]\n* = host={host} port={upstream} user={USER}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {mode}\nmax_client_conn = 200\ndefault_pool_size = 50\n"
        );
        fs::write(&file, config)?;
        give_away(directory.path()).await?;
        let (program, arguments) = as_server("/usr/sbin/pgbouncer", vec![text(&file)?.to_owned()]);
        let server = Server::own(format!("127.0.0.1:{port}"), program, arguments, directory);
        server.spawn()?;
        let serves = async || tokio::net::TcpStream::connect(server.address()).await.is_ok();
        server.wait_until("serve", serves).await?;
        Ok(Self { server })
    }
}
