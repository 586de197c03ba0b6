//! `PostgreSQL` with a cluster of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::support::process::{Daemon, Owner, folder, free_port, program};

/// Where Debian puts the programs.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";

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
        let postgres = tool("postgres");
        let owner = Owner::find("postgres");
        let folder = folder("postgres", owner.as_ref()).keep();
        let data = folder.join("data");
        let log = folder.join("out.log");
        let mut initdb = Command::new(tool("initdb"));
        initdb.args([
            "--no-sync",
            "--no-instructions",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
        ]);
        initdb.arg(&data).current_dir(&folder);
        let mut initdb = Daemon::spawn("initdb", initdb, owner.as_ref(), &log, None);
        let status = initdb.wait();
        assert!(status.success(), "initdb failed ({status}):\n{}", initdb.log());

        let port = free_port();
        let mut command = Command::new(postgres);
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k"]).arg(&folder).current_dir(&folder);
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "max_connections=200",
            "shared_buffers=32MB",
        ] {
            command.args(["-c", setting]);
        }
        let daemon = Daemon::spawn("PostgreSQL", command, owner.as_ref(), &log, Some(&folder));
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

    /// Ends it at once, as a power cut does.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }
}

fn tool(name: &str) -> PathBuf {
    program(Path::new(BINARIES).join(name))
}
