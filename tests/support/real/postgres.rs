//! `PostgreSQL` with a cluster of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::support::process::{Daemon, Launch, Owner, folder, free_port, program};

/// Where Debian puts the programs.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";

/// The cluster's owner.
pub const USER: &str = "footbridge";
/// Their password.
pub const PASSWORD: &str = "s3cret";

/// Makes a cluster in the current folder with `$1` (initdb), the first time; then becomes `$2` (postgres) on port `$3`.
const START: &str = r#"
if [ ! -d data ]; then
    printf '%s' "$PGPASSWORD" >password
    "$1" --no-sync --no-instructions -A scram-sha-256 -U "$PGUSER" --pwfile password -E UTF8 --locale=C -D data
fi
exec "$2" -D data -p "$3" -k "$PWD" -c listen_addresses=127.0.0.1 -c max_connections=300 -c shared_buffers=32MB \
    -c fsync=off
"#;

/// A `PostgreSQL` 15 that never synchronises to disk: what is committed survives its own crash, not the machine's.
pub struct Postgres {
    daemon: Mutex<Daemon>,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// The server that all tests of this process share, started on first use.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let owner = Owner::find("postgres");
        let folder = folder("postgres", owner.as_ref()).keep();
        let port = free_port();
        let mut command = Command::new("/bin/sh");
        command.args(["-ec", START, "postgres"]).arg(tool("initdb")).arg(tool("postgres")).arg(port.to_string());
        command.current_dir(&folder).envs([("PGUSER", USER), ("PGPASSWORD", PASSWORD)]);
        let log = folder.join("out.log");
        // Killed, it would leave a segment of shared memory behind; there are only so many.
        let launch = Launch { owner, cleanup: Some(&folder), stop: "QUIT", ..Launch::new("PostgreSQL", &log) };
        let server = Self { daemon: Mutex::new(launch.start(command)), port, databases: AtomicU32::new(0) };
        server.wait();
        server
    }

    /// Waits until it answers. It accepts connections before it is ready for them, so it is asked in its own words.
    fn wait(&self) {
        let port = self.port.to_string();
        self.daemon().wait_until("it answers", || {
            let mut ready = Command::new(tool("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port]).status().is_ok_and(|status| status.success())
        });
    }

    /// Ends it as if it had crashed: connections break. Its data stays for [`Self::start_again`].
    pub fn stop(&self) {
        self.daemon().stop();
    }

    /// Starts it again after [`Self::stop`], on the same port.
    pub fn start_again(&self) {
        self.daemon().start_again();
        self.wait();
    }

    /// Makes an empty database; answers with its URL.
    pub fn create_database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(tool("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, &name])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("createdb can be started");
        let problem = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "createdb failed: {problem}\n{}", self.daemon().log());
        self.url(&name)
    }

    /// The URL of a database, for its owner.
    pub fn url(&self, database: &str) -> String {
        self.url_with(USER, PASSWORD, database)
    }

    /// The URL of a database, for somebody.
    pub fn url_with(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tool(name: &str) -> PathBuf {
    program(Path::new(BINARIES).join(name))
}
