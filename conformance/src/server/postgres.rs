//! PostgreSQL from Debian's packages.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

use super::control::{POLL, START, Server, check_installed, on_free_ports};
use super::postgres_user::{USER, as_server, give_away, new_directory, output, program, run, text};

const VARIABLE: &str = "FAIRLOCK_TEST_POSTGRES";

/// The servers of tests need not outlive a loss of power; many clients come.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_connections=1000",
    "log_min_messages=fatal",
];

/// One PostgreSQL server; its superuser `postgres` needs no password. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    data: Option<PathBuf>,
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Postgres {
    /// Starts a server on a free loopback port, and waits until it serves.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed, or does not start; then with the end of its log.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with these settings in addition, such as `fsync=on`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(settings: &[&str]) -> io::Result<Self> {
        on_free_ports(1, async |ports| Self::start_on(ports[0], settings).await).await
    }

    async fn start_on(port: u16, settings: &[&str]) -> io::Result<Self> {
        Self::start_in(port, settings, &[]).await
    }

    async fn start_in(port: u16, settings: &[&str], environment: &[String]) -> io::Result<Self> {
        let directory = new_directory()?;
        let data = directory.path().join("data");
        let arguments = ["-D", text(&data)?, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"];
        run(program("initdb")?, &arguments).await?;
        serve(directory, port, settings, environment).await
    }

    /// Starts a server whose time of day can be [set](ServerClock::set_days).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); if libfaketime is not installed.
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_clock() -> io::Result<(Self, ServerClock)> {
        check_installed("libfaketime", &["faketime"])?;
        let directory = new_directory()?;
        let clock = ServerClock { file: directory.path().join("time"), _directory: directory };
        clock.set_days(0)?;
        let environment = [
            "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1".to_owned(),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "FAKETIME_DISABLE_SHM=1".to_owned(),
        ];
        let start = async |ports: Vec<u16>| Self::start_in(ports[0], &[], &environment).await;
        Ok((on_free_ports(1, start).await?, clock))
    }

    /// Starts a server that follows this one.
    pub(super) async fn standby_on(&self, port: u16) -> io::Result<Self> {
        let directory = new_directory()?;
        let data = directory.path().join("data");
        let (host, upstream) = self.address().rsplit_once(':').unwrap_or_default();
        let arguments =
            ["-h", host, "-p", upstream, "-U", USER, "-D", text(&data)?, "-R", "-N", "-c", "fast"];
        run(program("pg_basebackup")?, &arguments).await?;
        serve(directory, port, &[], &[]).await
    }

    /// Starts a server that speaks TLS. The paths are those of PEM files: of the authority, the certificate and its key.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_tls([authority, certificate, key]: [PathBuf; 3]) -> io::Result<Self> {
        let files = new_directory()?;
        let copy = |from: PathBuf, name: &str| -> io::Result<PathBuf> {
            let to = files.path().join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o600))?;
            Ok(to)
        };
        let [authority, certificate, key] =
            [copy(authority, "ca.pem")?, copy(certificate, "cert.pem")?, copy(key, "key.pem")?];
        give_away(files.path()).await?;
        let setting = |name: &str, path: &Path| format!("{name}={}", path.display());
        let settings = [
            "ssl=on".to_owned(),
            setting("ssl_cert_file", &certificate),
            setting("ssl_key_file", &key),
            setting("ssl_ca_file", &authority),
        ];
        let server = Self::start_with(&settings.each_ref().map(String::as_str)).await;
        // The server has read its files.
        drop(files);
        server
    }

    /// The server at the `host:port` in the environment variable `FAIRLOCK_TEST_POSTGRES`, which can be neither
    /// killed nor paused; where that is not set, a [new one](Self::start).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn given_or_start() -> io::Result<Self> {
        match Server::given(VARIABLE) {
            Some(server) => Ok(Self { server, data: None }),
            None => Self::start().await,
        }
    }

    /// Starts the server again, on the same port with the same data, and waits until it serves.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; else as [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// The server may be down or up.
    pub async fn restart(&self) -> io::Result<()> {
        let begun = tokio::time::Instant::now();
        loop {
            self.spawn()?;
            let serves = async || self.sql("SELECT 1").await.is_ok();
            match self.wait_until("serve", serves).await {
                // The processes of one that was killed need a moment to notice.
                Err(error) if error.to_string().contains("is still in use") && begun.elapsed() < START => {
                    sleep(POLL).await;
                }
                ended => return ended,
            }
        }
    }

    /// Kills all processes of the server with SIGKILL: left alone, those that serve clients may answer once more. What it has on
    /// disk stays.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours.
    pub fn kill(&self) -> io::Result<()> {
        let file = self.data.as_deref().ok_or(io::ErrorKind::Unsupported)?.join("postmaster.pid");
        let first = fs::read_to_string(file).unwrap_or_default();
        let children = first.lines().next().map(children).unwrap_or_default();
        self.server.kill()?;
        for child in children.into_iter().filter_map(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
        Ok(())
    }

    /// Asks the server to end: `smart`, `fast` (connections are closed), or `immediate` (as if it had crashed).
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; what `pg_ctl` says.
    ///
    /// # Cancel safety
    ///
    /// The server may be down or up.
    pub async fn stop(&self, mode: &str) -> io::Result<()> {
        let data = self.data.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        run(program("pg_ctl")?, &["stop", "-D", text(data)?, "-m", mode]).await.map(drop)
    }

    /// What these statements answer, each row on a line, columns separated by `|`.
    ///
    /// # Errors
    ///
    /// What the server says, or that it took longer than ten seconds.
    ///
    /// # Cancel safety
    ///
    /// The server may have executed them or not.
    pub async fn sql(&self, statements: &str) -> io::Result<String> {
        let (host, port) = self.address().rsplit_once(':').unwrap_or((self.address(), "5432"));
        let mut command = Command::new(program("psql")?);
        command.args([
            "-h",
            host,
            "-p",
            port,
            "-U",
            USER,
            "-d",
            "postgres",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        command.args(["-c", statements]);
        output(command).await
    }

    /// Lets clients in from now on as these lines of `pg_hba.conf` say, such as
    /// `host all someone 127.0.0.1/32 scram-sha-256`; the others as before.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; what the file system or the server says.
    ///
    /// # Cancel safety
    ///
    /// The lines may be in use or not.
    pub async fn let_in(&self, lines: &[&str]) -> io::Result<()> {
        let file = self.data.as_deref().ok_or(io::ErrorKind::Unsupported)?.join("pg_hba.conf");
        let before = fs::read_to_string(&file)?;
        fs::write(&file, format!("{}\n{before}", lines.join("\n")))?;
        self.sql("SELECT pg_reload_conf()").await.map(drop)
    }
}

/// The time of day of a server.
#[derive(Debug)]
pub struct ServerClock {
    file: PathBuf,
    _directory: TempDir,
}

impl ServerClock {
    /// Sets it so many days forward, or back: counted from the true time.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn set_days(&self, days: i32) -> io::Result<()> {
        fs::write(&self.file, format!("{days:+}d"))
    }
}

/// Serves what is in `data` in this directory.
async fn serve(
    directory: TempDir,
    port: u16,
    settings: &[&str],
    environment: &[String],
) -> io::Result<Postgres> {
    let data = directory.path().join("data");
    let mut lines = String::new();
    for setting in SETTINGS.iter().chain(settings) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let _ = writeln!(lines, "{name} = '{value}'");
    }
    fs::write(data.join("postgresql.conf"), lines)?;
    give_away(directory.path()).await?;
    let mut arguments = environment.to_vec();
    arguments.push(text(&program("postgres")?)?.to_owned());
    arguments.extend(["-D".to_owned(), text(&data)?.to_owned(), "-p".to_owned(), port.to_string()]);
    let (program, arguments) = as_server("env", arguments);
    let server = Server::own(format!("127.0.0.1:{port}"), program, arguments, directory);
    let server = Postgres { server, data: Some(data) };
    server.restart().await?;
    Ok(server)
}

/// The processes that this one has started.
fn children(parent: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let child = |process: fs::DirEntry| {
        let status = fs::read_to_string(process.path().join("status")).ok()?;
        let its_parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        (its_parent.trim() == parent).then(|| process.file_name().to_str()?.parse().ok())?
    };
    processes.filter_map(child).collect()
}
