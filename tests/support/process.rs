//! Child processes that end with the test, whatever ends the test.
//!
//! Each child leads a process group of its own. Beside it runs a watchdog, a shell that waits for the end of its standard input. The
//! other end of that pipe is ours alone: when it closes, because the [`Daemon`] is dropped, because the test panicked, or because the
//! test process itself was killed, the shell ends the group and removes the child's folder. So servers that all tests of a binary
//! share may live in a `static`.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::wait::DEADLINE;

/// How often a starting child is asked whether it is ready.
pub const POLL: Duration = Duration::from_millis(10);

/// A port of loopback on which nothing listens, never handed out twice by this process.
///
/// It lies below the range from which the kernel takes the ports of outgoing connections, so none of those takes it in between.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    // Test processes that run side by side start at different places.
    let start = u16::try_from(std::process::id() * 37 % u32::from(COUNT)).expect("less than COUNT");
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        // Asked by connecting: a socket of ours, bound to try, could live on in a child that is just being forked.
        if !answers(([127, 0, 0, 1], port).into()) {
            return port;
        }
    }
    panic!("no port of loopback between {FIRST} and {} is free", FIRST + COUNT);
}

/// A folder for a child's files, which the system user `owner` (if any) may use.
pub fn folder(name: &str, owner: Option<&Owner>) -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix(&format!("footbridge-test-{name}-"))
        .tempdir()
        .unwrap_or_else(|error| panic!("cannot make a temporary folder for {name}: {error}"));
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    if let Some(owner) = owner {
        owner.give(folder.path());
    }
    folder
}

/// A system user as whom a server runs that refuses to run as root.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// The user of this name. Nobody, if we aren't root: then everything runs as ourselves.
    ///
    /// # Panics
    /// If we are root and there is no such user.
    pub fn find(name: &str) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let we_are_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !we_are_root {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("every machine has /etc/passwd");
        let found = users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&name))
                .then(|| Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? }))?
        });
        assert!(found.is_some(), "this machine has no user `{name}`: run `make test`, which installs what tests need");
        found
    }

    /// Makes a file or folder this user's.
    pub fn give(self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).expect("root may give files away");
    }
}

/// The path of a program that tests need.
///
/// # Panics
/// If it isn't installed.
pub fn program(path: impl Into<PathBuf>) -> PathBuf {
    let path = path.into();
    assert!(path.exists(), "{} is missing: run `make test`, which installs it", path.display());
    path
}

/// What the watchdog does with the group `$1` when its standard input ends: first, if the leader deserves more than SIGKILL, it gets
/// the signal `$3`, again and again for five seconds because it may ignore it while starting; then everything is killed, and the
/// folder `$2` removed, unless a line was written to it that asks to keep it.
const WATCHDOG: &str = r#"
read -r keep
tries=50
while [ "$3" != KILL ] && [ $tries -gt 0 ] && [ -d "/proc/$1" ] && ! grep -q "^State:.*Z" "/proc/$1/status"; do
    kill -s "$3" "$1" 2>/dev/null
    sleep 0.1
    tries=$((tries - 1))
done
kill -s KILL -- "-$1" 2>/dev/null
[ -n "$keep" ] || [ -z "$2" ] || rm -rf -- "$2"
"#;

/// How a child is started.
pub struct Launch<'a> {
    /// What it is called in messages.
    pub name: &'a str,
    /// The file to which everything it prints goes.
    pub log: &'a Path,
    /// The user it runs as, if not as ourselves.
    pub owner: Option<Owner>,
    /// A folder that goes with it.
    pub cleanup: Option<&'a Path>,
    /// The signal that ends it: `KILL`, unless it would leave something behind then.
    pub stop: &'a str,
}

impl<'a> Launch<'a> {
    /// A child that runs as ourselves and is simply killed.
    pub fn new(name: &'a str, log: &'a Path) -> Self {
        Self { name, log, owner: None, cleanup: None, stop: "KILL" }
    }

    /// Starts it.
    pub fn start(self, mut command: Command) -> Daemon {
        let Self { name, log, .. } = self;
        let open = || {
            let opened = File::options().create(true).append(true).open(log);
            opened.unwrap_or_else(|error| panic!("cannot write {name}'s log {}: {error}", log.display()))
        };
        if let Some(owner) = self.owner {
            command.gid(owner.gid).uid(owner.uid);
        }
        command.process_group(0).stdin(Stdio::null()).stdout(open()).stderr(open());
        let cleanup = self.cleanup.map(Path::to_owned);
        let (child, watchdog) = spawn(&mut command, name, cleanup.as_deref(), self.stop);
        let (name, log, stop) = (name.to_owned(), log.to_owned(), self.stop.to_owned());
        Daemon { name, child, watchdog, log, command, cleanup, stop, stopped: false }
    }
}

/// Starts a child and its watchdog.
fn spawn(command: &mut Command, name: &str, cleanup: Option<&Path>, stop: &str) -> (Child, Child) {
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {name} ({}): {error}", command.get_program().display()));
    let watchdog = Command::new("/bin/sh")
        .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
        .arg(cleanup.unwrap_or(Path::new("")))
        .arg(stop)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("every machine has /bin/sh");
    (child, watchdog)
}

/// A running child with its log and its watchdog.
pub struct Daemon {
    name: String,
    child: Child,
    watchdog: Child,
    log: PathBuf,
    command: Command,
    cleanup: Option<PathBuf>,
    stop: String,
    /// Whether it was ended by [`Daemon::stop`] and its folder is still there.
    stopped: bool,
}

impl Daemon {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the child ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// What the child has printed so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Waits until `ready` holds. Blocks the thread: for servers that need nothing from this process.
    ///
    /// # Panics
    /// After [`DEADLINE`], or as soon as the child has ended; with its log.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !ready() {
            self.check(what, deadline);
            std::thread::sleep(POLL);
        }
    }

    /// Panics if the child has ended or the deadline is over, with the log.
    pub fn check(&mut self, what: &str, deadline: Instant) {
        if let Some(status) = self.exit_status() {
            panic!("{} ended ({status}) before {what}. It said:\n{}", self.name, self.log());
        }
        assert!(Instant::now() < deadline, "{}: waited in vain for {what}. It said:\n{}", self.name, self.log());
    }

    /// Sends a signal, such as `TERM`, to the child alone.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("/bin/sh").args(["-c", r#"kill -s "$1" "$2""#, "kill", signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send {signal} to {}", self.name);
    }

    /// Ends the child like [`Self::kill`], but leaves its folder to [`Self::start_again`].
    pub fn stop(&mut self) {
        let asked = self.watchdog.stdin.as_mut().map(|stdin| stdin.write_all(b"keep\n"));
        assert!(matches!(asked, Some(Ok(()))), "{} has ended already", self.name);
        self.stopped = true;
        self.kill();
    }

    /// Starts the child again after [`Self::stop`], with the same command.
    pub fn start_again(&mut self) {
        assert!(self.stopped, "{} was not stopped", self.name);
        (self.child, self.watchdog) = spawn(&mut self.command, &self.name, self.cleanup.as_deref(), &self.stop);
        self.stopped = false;
    }

    /// Ends the child and all its children, and waits until it is gone. Its folder goes too.
    pub fn kill(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what {} said ---\n{}", self.name, tail(&self.log(), 200));
        }
        self.kill();
        if let (true, Some(folder)) = (self.stopped, &self.cleanup) {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// The last lines of a log.
fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// True if something listens there.
pub fn answers(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// True if an IRC server answers there. `InspIRCd` listens long before it does: it loads its modules in between.
pub fn irc_answers(address: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"QUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.contains("ERROR"))
    };
    ask().unwrap_or(false)
}

/// The status with which an HTTP server answers `GET path`, if it answers.
pub fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head).ok()?.rsplit(' ').next()?.parse().ok()
}
