//! `PostgreSQL` with a cluster of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::support::process::{Daemon, Launch, Owner, folder, free_port, program};

/// Where Debian puts the programs.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";

/// Makes a cluster in the current folder with `$1` (initdb), then becomes `$2` (postgres) on port `$3`.
const START: &str = r#"
"$1" --no-sync --no-instructions -A trust -U postgres -E UTF8 --locale=C -D data
exec "$2" -D data -p "$3" -k "$PWD" -c listen_addresses=127.0.0.1 -c max_connections=200 -c shared_buffers=32MB \
    -c fsync=off -c full_page_writes=off -c synchronous_commit=off
"#;

/// A running `PostgreSQL` 15 whose data is lost with it: nothing is ever synchronised to disk.
pub struct Postgres {
    daemon: Daemon,
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
        command.current_dir(&folder);
        let log = folder.join("out.log");
        // Killed, it would leave a segment of shared memory behind; there are only so many.
        let launch = Launch { owner, cleanup: Some(&folder), stop: "QUIT", ..Launch::new("PostgreSQL", &log) };
        let daemon = launch.start(command);
        let mut server = Self { daemon, port, databases: AtomicU32::new(0) };
        // It accepts connections before it is ready for them, so the question is asked in its own words.
        server.daemon.wait_until("it answers", || {
            let mut ready = Command::new(tool("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status().is_ok_and(|status| status.success())
        });
        server
    }

    /// Makes an empty database; answers with its URL.
    pub fn create_database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(tool("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", &name])
            .output()
            .expect("createdb can be started");
        let problem = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "createdb failed: {problem}\n{}", self.daemon.log());
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Ends it without warning to its clients.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }
}

fn tool(name: &str) -> PathBuf {
    program(Path::new(BINARIES).join(name))
}
