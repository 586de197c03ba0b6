//! A PostgreSQL server of our own: a fresh data folder, a free port on loopback, gone when dropped.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const BIN: &str = "/usr/lib/postgresql/15/bin";
pub(crate) const USER: &str = "footbridge";
pub(crate) const PASSWORD: &str = "s3cret";

pub(crate) struct Postgres {
    folder: TempDir,
    port: u16,
    process: Mutex<Option<Child>>,
}

impl Postgres {
    /// The server that the tests of this process share; it stops when the last of them is done with it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start_new());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server of one's own, which may be stopped and started.
    pub(crate) fn start_new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Root makes the folder; the server, which refuses root, owns it.
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(folder.path()));
        }
        let initdb = format!("{BIN}/initdb");
        run(as_postgres(&initdb)
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args(["--username", USER, "--pgdata"])
            .arg(folder.path().join("data"))
            .arg("--pwfile")
            .arg(&password));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let server = Self { folder, port, process: Mutex::new(None) };
        server.start();
        server
    }

    pub(crate) fn start(&self) {
        let log = fs::File::create(self.log()).unwrap();
        let child = as_postgres(&format!("{BIN}/postgres"))
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"])
            .args(["-c", "fsync=off", "-c"])
            .arg(format!("unix_socket_directories={}", self.folder.path().display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.process.lock().unwrap() = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.read_log().contains("ready to accept connections") {
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {}", self.read_log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server at once, as if it had crashed; connections break.
    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            run(Command::new("kill").args(["-QUIT", &child.id().to_string()]));
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.url_with(USER, PASSWORD, database)
    }

    pub(crate) fn url_with(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn read_log(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// `program`, run by a user whom PostgreSQL doesn't refuse.
fn as_postgres(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--", program]);
    // Its own folder may be closed to that user.
    command.current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
