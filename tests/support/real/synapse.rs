//! Synapse from the virtual environment in `build/synapse`, with `SQLite`.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
};

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;

use super::write;
use crate::support::{
    MatrixUser, Registration,
    process::{Daemon, Launch, folder, free_port, http_status, program},
    tls,
};

/// The shared secret with which users are registered.
const SECRET: &str = "registration secret of the tests";

/// A running Synapse without federation.
pub struct Synapse {
    daemon: Daemon,
    address: SocketAddr,
    spare: Mutex<Vec<Registration>>,
}

/// How many bridges the shared server knows beforehand.
const SHARED_BRIDGES: usize = 160;

impl Synapse {
    /// The homeserver's name.
    pub const SERVER_NAME: &'static str = "real.test";

    /// The server that all tests of this process share, started on first use. It knows many bridges; see [`Self::take_registration`].
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Synapse> = OnceLock::new();
        SHARED.get_or_init(|| {
            let registrations: Vec<Registration> = (0..SHARED_BRIDGES).map(nth_registration).collect();
            Self::start(&registrations)
        })
    }

    /// A registration that no other test has had: a bridge of its own with one network, port and bot.
    ///
    /// Synapse reads registrations only when it starts, so a shared one knows a number of them beforehand. None is used twice,
    /// because events of the first use would reach the second one's bridge. The network's id is what the one prefix says:
    /// `irc_<network>_`.
    pub fn take_registration(&self) -> Registration {
        let taken = self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        taken.expect("all registrations are taken: raise SHARED_BRIDGES")
    }

    /// Starts a server that knows these application services.
    pub fn start(registrations: &[Registration]) -> Self {
        let folder = folder("synapse", None).keep();
        let write_one = |registration: &Registration| {
            assert_eq!(registration.server_name, Self::SERVER_NAME, "the registration is for another homeserver");
            let file = folder.join(format!("registration-{}.yaml", registration.id));
            registration.write(&file);
            file
        };
        let files: Vec<PathBuf> = registrations.iter().map(write_one).collect();
        Self::launch(&folder, free_port(), &files, registrations)
    }

    /// Starts a server on a port agreed on before, that reads these registration files, whoever wrote them.
    pub fn start_with_files(port: u16, files: &[PathBuf]) -> Self {
        Self::launch(&folder("synapse", None).keep(), port, files, &[])
    }

    fn launch(folder: &Path, port: u16, files: &[PathBuf], registrations: &[Registration]) -> Self {
        let python = program(Path::new(env!("CARGO_MANIFEST_DIR")).join("build/synapse/bin/python"));
        let files = files.iter().map(|file| format!("\n  - {}", file.display())).collect::<Vec<_>>().concat();
        let path = folder.display().to_string();
        let config = folder.join("homeserver.yaml");
        write(&config, &homeserver_yaml(&path, port, &files));
        write(&folder.join("log.yaml"), LOG_CONFIG);
        write(&folder.join("signing.key"), "ed25519 a_test ikxQxWXU2YxOzsyXgK5ZqJ7kZbUqO3GrNJV4HMbuzVU\n");
        let mut command = Command::new(python);
        command.args(["-m", "synapse.app.homeserver", "-c"]).arg(&config).current_dir(folder);
        let daemon = Launch { cleanup: Some(folder), ..Launch::new("Synapse", &folder.join("out.log")) }.start(command);
        let mut server =
            Self { daemon, address: ([127, 0, 0, 1], port).into(), spare: Mutex::new(registrations.to_vec()) };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let address = self.address;
        self.daemon.wait_until("it answers", || http_status(address, "/health") == Some(200));
    }

    /// Ends it at once, as a crash does; [`Self::start_again`] brings it back.
    pub fn kill(&mut self) {
        self.daemon.stop();
    }

    /// Starts it again where it was, with all that it has stored.
    pub fn start_again(&mut self) {
        self.daemon.start_again();
        self.wait();
    }

    /// The base URL of the client-server API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What Synapse has logged so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// A new user, registered and logged in.
    ///
    /// Tests that share a server need different names.
    pub async fn user(&self, localpart: &str) -> MatrixUser {
        let http = tls::http_client();
        let url = format!("{}/_synapse/admin/v1/register", self.url());
        let answer =
            |response: reqwest::Response| async { response.json::<Value>().await.expect("Synapse answers JSON") };
        let nonce = answer(http.get(&url).send().await.expect("Synapse is there")).await;
        let nonce = nonce["nonce"].as_str().expect("the answer has a nonce");
        let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).expect("any key will do");
        mac.update(format!("{nonce}\0{localpart}\0password\0notadmin").as_bytes());
        let mut hex = String::new();
        for byte in mac.finalize().into_bytes() {
            let _ = write!(hex, "{byte:02x}");
        }
        let body = json!({ "nonce": nonce, "username": localpart, "password": "password", "admin": false, "mac": hex });
        let registered = answer(http.post(&url).json(&body).send().await.expect("Synapse is there")).await;
        let (Some(id), Some(token)) = (registered["user_id"].as_str(), registered["access_token"].as_str()) else {
            panic!("Synapse doesn't register {localpart}: {registered}");
        };
        MatrixUser::on_server(&self.url(), id.to_owned(), token.to_owned())
    }
}

/// The registration of the shared server's bridge of this number.
fn nth_registration(number: usize) -> Registration {
    let network = format!("net{number}");
    let mut registration = Registration::new(Synapse::SERVER_NAME, free_port(), &[&network]);
    registration.id = format!("footbridge{number}");
    registration.sender_localpart = format!("footbridge{number}");
    registration
}

const LOG_CONFIG: &str = "version: 1\nformatters: {plain: {format: '%(asctime)s %(levelname)s %(name)s %(message)s'}}\n\
    handlers: {out: {class: logging.StreamHandler, formatter: plain}}\nroot: {level: WARNING, handlers: [out]}\n\
    disable_existing_loggers: false\n";

/// Every limit lifted, nothing asked of the outside.
fn homeserver_yaml(folder: &str, port: u16, registrations: &str) -> String {
    let high = "{per_second: 100000, burst_count: 100000}";
    let registrations =
        if registrations.is_empty() { String::new() } else { format!("app_service_config_files:{registrations}\n") };
    format!(
        "server_name: {name}
pid_file: {folder}/synapse.pid
report_stats: false
public_baseurl: http://127.0.0.1:{port}/
listeners:
  - {{port: {port}, bind_addresses: ['127.0.0.1'], type: http, tls: false, resources: [{{names: [client], compress: false}}]}}
database: {{name: sqlite3, args: {{database: {folder}/synapse.db}}}}
log_config: {folder}/log.yaml
media_store_path: {folder}/media
signing_key_path: {folder}/signing.key
trusted_key_servers: []
suppress_key_server_warning: true
federation_domain_whitelist: []
macaroon_secret_key: macaroon secret of the tests
form_secret: form secret of the tests
registration_shared_secret: {SECRET}
enable_registration: false
bcrypt_rounds: 4
presence: {{enabled: false}}
url_preview_enabled: false
filter_timeline_limit: -1
alias_creation_rules: [{{action: allow}}]
room_list_publication_rules: [{{action: allow}}]
rc_message: {high}
rc_registration: {high}
rc_login: {{address: {high}, account: {high}, failed_attempts: {high}}}
rc_admin_redaction: {high}
rc_joins: {{local: {high}, remote: {high}}}
rc_joins_per_room: {high}
rc_invites: {{per_room: {high}, per_user: {high}, per_issuer: {high}}}
rc_room_creation: {high}
{registrations}",
        name = Synapse::SERVER_NAME,
    )
}
