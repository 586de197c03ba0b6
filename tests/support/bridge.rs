//! The real `footbridge` program as a child, with a configuration made for the test.
//!
//! ```ignore
//! let mut bridge = Bridge::of(&homeserver.url(), &registration)
//!     .network(Network::new("net", ircd.address()).plumb("#tea", &room))
//!     .start()
//!     .await;
//! bridge.kill();
//! bridge.restart().await;
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Instant,
};

use tempfile::TempDir;

use super::{
    Registration,
    process::{Daemon, Launch, POLL, folder},
    tls::{self, SelfSigned},
    wait::DEADLINE,
};

/// One section's keys and their values, as TOML text.
type Section = BTreeMap<String, String>;

/// A network in the bridge's configuration. Its limits are all lifted unless a test sets them.
pub struct Network {
    id: String,
    sections: BTreeMap<String, Section>,
    plumbs: Vec<(String, String, String)>,
    certificate_pem: Option<String>,
}

impl Network {
    /// A network with one server, without TLS.
    pub fn new(id: &str, server: SocketAddr) -> Self {
        let this = Self { id: id.to_owned(), sections: BTreeMap::new(), plumbs: Vec::new(), certificate_pem: None };
        this.set("", "name", &quote(id))
            .by_way_of(server)
            .set("", "tls", "false")
            .set("bot", "nick", &quote("footbridge"))
            .set("limits", "connects_per_minute", "0")
            .set("limits", "line_burst", "0")
            .set("limits", "lines_per_second", "0")
    }

    /// Sets a key of `[network.<id>.<section>]` (an empty section: of `[network.<id>]`) to a TOML value.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Connects to `server` instead.
    #[must_use]
    pub fn by_way_of(self, server: SocketAddr) -> Self {
        self.set("", "servers", &format!("[{}]", quote(&server.to_string())))
    }

    /// Connects with TLS and trusts this certificate.
    #[must_use]
    pub fn tls(mut self, certificate: &SelfSigned) -> Self {
        self.certificate_pem = Some(certificate.certificate_pem.clone());
        self.set("", "tls", "true")
    }

    /// Nobody reads in its rooms whom IRC can't see, and for whom it waits so many seconds.
    #[must_use]
    pub fn strict(self, patience: u32) -> Self {
        self.set("portals", "privacy", "\"strict\"").set("portals", "privacy_patience_seconds", &patience.to_string())
    }

    /// Links a channel with a room (an id or an alias).
    #[must_use]
    pub fn plumb(self, channel: &str, room: &str) -> Self {
        self.plumb_with_key(channel, room, "")
    }

    /// Links a channel that has a key.
    #[must_use]
    pub fn plumb_with_key(mut self, channel: &str, room: &str, key: &str) -> Self {
        self.plumbs.push((channel.to_owned(), room.to_owned(), key.to_owned()));
        self
    }

    /// Makes a room on demand for each channel's alias.
    #[must_use]
    pub fn join_by_alias(self) -> Self {
        self.set("portals", "join_by_alias", "true")
    }

    fn render(&self, folder: &Path, text: &mut String) {
        for (section, keys) in &self.sections {
            let dot = if section.is_empty() { "" } else { "." };
            let _ = writeln!(text, "\n[network.{}{dot}{section}]", self.id);
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
            if section.is_empty() && self.certificate_pem.is_some() {
                let _ = writeln!(text, "tls_ca = {}", quote(&self.certificate_file(folder).display().to_string()));
            }
        }
        for (channel, room, key) in &self.plumbs {
            let _ =
                writeln!(text, "\n[[network.{}.plumb]]\nchannel = {}\nroom = {}", self.id, quote(channel), quote(room));
            if !key.is_empty() {
                let _ = writeln!(text, "key = {}", quote(key));
            }
        }
    }

    fn certificate_file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.pem", self.id))
    }
}

/// A bridge before it is started.
pub struct BridgeBuilder {
    homeserver: String,
    registration: Registration,
    networks: Vec<Network>,
    database: Option<String>,
    extra: String,
    homeserver_keys: String,
    program: PathBuf,
    log_filter: String,
    environment: Vec<(String, OsString)>,
    run_arguments: Vec<String>,
}

impl BridgeBuilder {
    /// Adds a network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.networks.push(network);
        self
    }

    /// Uses this database instead of an `SQLite` file in the bridge's folder.
    #[must_use]
    pub fn database(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self
    }

    /// Sets a key of `[homeserver]` to a TOML value.
    #[must_use]
    pub fn homeserver(mut self, key: &str, value: &str) -> Self {
        let _ = writeln!(self.homeserver_keys, "{key} = {value}");
        self
    }

    /// Adds TOML text at the end of the configuration.
    #[must_use]
    pub fn extra(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self
    }

    /// Logs what this filter says, unless `RUST_LOG` is set. Benchmarks log as little as an operator does.
    #[must_use]
    pub fn log_filter(mut self, filter: &str) -> Self {
        filter.clone_into(&mut self.log_filter);
        self
    }

    /// Runs another program in place of `footbridge`.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Adds arguments to `footbridge run`.
    #[must_use]
    pub fn run_with(mut self, arguments: &[&str]) -> Self {
        self.run_arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// The text of `config.toml` for a bridge whose files are in `folder`.
    pub fn config(&self, folder: &Path) -> String {
        let registration = &self.registration;
        let database = self.database.clone();
        let database = database.unwrap_or_else(|| format!("sqlite://{}", folder.join("footbridge.db").display()));
        let mut text = format!(
            "[homeserver]\nurl = {}\nserver_name = {}\n{}\n[appservice]\nregistration = {}\nbind = {}\nurl = {}\nbot_localpart = {}\n\n\
             [database]\nurl = {}\n",
            quote(&self.homeserver),
            quote(&registration.server_name),
            self.homeserver_keys,
            quote(&folder.join("registration.yaml").display().to_string()),
            quote(&format!("127.0.0.1:{}", registration.port())),
            quote(&registration.url),
            quote(&registration.sender_localpart),
            quote(&database),
        );
        for network in &self.networks {
            network.render(folder, &mut text);
        }
        text.push('\n');
        text.push_str(&self.extra);
        text
    }

    /// Writes the configuration and what it names, without starting anything.
    pub fn prepare(self) -> Bridge {
        let folder = folder("bridge", None);
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        };
        write(&folder.path().join("config.toml"), &self.config(folder.path()));
        self.registration.write(&folder.path().join("registration.yaml"));
        for network in &self.networks {
            if let Some(pem) = &network.certificate_pem {
                write(&network.certificate_file(folder.path()), pem);
            }
        }
        let port = self.registration.port();
        Bridge {
            daemon: None,
            folder,
            program: self.program,
            log_filter: self.log_filter,
            environment: self.environment,
            run_arguments: self.run_arguments,
            port,
            http: tls::http_client(),
        }
    }

    /// Starts the bridge and waits until it is ready.
    pub async fn start(self) -> Bridge {
        let mut bridge = self.prepare();
        bridge.spawn();
        bridge.wait_ready().await;
        bridge
    }
}

/// The bridge as a child. Dropping it kills it; if the test has failed, its log is printed first.
pub struct Bridge {
    daemon: Option<Daemon>,
    folder: TempDir,
    program: PathBuf,
    log_filter: String,
    environment: Vec<(String, OsString)>,
    run_arguments: Vec<String>,
    port: u16,
    http: reqwest::Client,
}

impl Bridge {
    /// A bridge between the homeserver at this URL and networks still to be named.
    pub fn of(homeserver: &str, registration: &Registration) -> BridgeBuilder {
        BridgeBuilder {
            homeserver: homeserver.to_owned(),
            registration: registration.clone(),
            networks: Vec::new(),
            database: None,
            extra: String::new(),
            homeserver_keys: String::new(),
            program: env!("CARGO_BIN_EXE_footbridge").into(),
            log_filter: "info,footbridge=debug".to_owned(),
            environment: Vec::new(),
            run_arguments: Vec::new(),
        }
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// The folder of its files; the database is `footbridge.db` in there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the bridge runs").pid()
    }

    /// Everything it has logged so far, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("footbridge.log")
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).arg("--config").arg(self.config_file()).current_dir(self.folder.path());
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", &self.log_filter);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it without waiting; see [`Self::wait_ready`].
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "the bridge runs already");
        let mut command = self.command("run");
        command.args(&self.run_arguments);
        self.daemon = Some(Launch::new("footbridge", &self.log_file()).start(command));
    }

    /// Runs `footbridge <subcommand> --config <its configuration> <more>` to its end.
    pub async fn run(&self, subcommand: &str, more: &[&str]) -> Output {
        let mut command = self.command(subcommand);
        command.args(more);
        // Not on this thread, where the fakes may have to answer.
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        output.expect("waiting doesn't panic").expect("footbridge can be started")
    }

    /// The status of `GET /health`, if it answers.
    pub async fn health(&self) -> Option<u16> {
        let response = self.http.get(format!("http://127.0.0.1:{}/health", self.port)).send().await;
        response.ok().map(|response| response.status().as_u16())
    }

    /// What `GET /health` says, if it is answered in JSON.
    pub async fn health_report(&self) -> Option<serde_json::Value> {
        let response = self.http.get(format!("http://127.0.0.1:{}/health", self.port)).send().await;
        response.ok()?.json().await.ok()
    }

    /// Waits until `GET /health` is answered 200.
    ///
    /// # Panics
    /// If the bridge ends, or after [`DEADLINE`]; with its log.
    pub async fn wait_ready(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while self.health().await != Some(200) {
            self.running().check("it is ready", deadline);
            tokio::time::sleep(POLL).await;
        }
    }

    fn running(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the bridge runs")
    }

    /// Kills it (SIGKILL), as a crash or a power cut would.
    pub fn kill(&mut self) {
        self.running().kill();
        self.daemon = None;
    }

    /// Asks it to end (SIGTERM) and waits until it has; answers how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.running().signal("TERM");
        self.ended().await
    }

    /// Waits until it has ended; answers how.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.running().exit_status() {
                self.daemon = None;
                return status;
            }
            assert!(Instant::now() < deadline, "the bridge doesn't end; it said:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts it again after [`Self::kill`] or [`Self::terminate`], and waits until it is ready.
    pub async fn restart(&mut self) {
        self.spawn();
        self.wait_ready().await;
    }
}

/// A TOML string.
fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON, and a JSON string is a TOML string")
}
