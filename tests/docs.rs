//! What we show operators is true: the examples are valid, complete, and what the program itself would write.

use std::{fs, path::Path};

use footbridge::{
    config::{Config, Secret},
    matrix::registration::Registration,
};

fn repository(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(repository(file)).expect("the repository has its documents")
}

/// The example with its commented keys and sections made real.
fn uncommented(example: &str) -> String {
    let is_setting = |line: &str| line.starts_with("[[") || line.split_once(" = ").is_some_and(|(key, _)| is_key(key));
    let lines = example.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// The full names of the keys in a TOML text, in the form of [`Config::known_keys`].
fn keys(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).replace("network.libera", "network.ID");
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| is_key(key)) {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys.sort();
    keys
}

#[test]
fn the_example_configuration_is_valid() {
    Config::load(&repository("config.example.toml")).unwrap();
}

#[test]
fn the_example_configuration_has_every_key_once() {
    let mut known = Config::known_keys();
    known.sort();
    assert!(known.contains(&"network.ID.plumb.channel".to_owned()), "the list looks into repeated sections: {known:?}");
    assert_eq!(keys(&uncommented(&read("config.example.toml"))), known);
}

/// Every commented key is valid as it stands, but for the secrets, which come from places that aren't there.
#[test]
fn the_example_configuration_is_valid_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let all = uncommented(&read("config.example.toml")).replace("{ env = \"ALICE_PASSWORD\" }", "\"secret\"");
    fs::write(folder.path().join("config.toml"), all).unwrap();
    fs::write(folder.path().join("libera-password.txt"), "secret").unwrap();
    let config = Config::load(&folder.path().join("config.toml")).unwrap();
    let network = config.networks.values().next().unwrap();
    assert_eq!((network.plumbs.len(), network.puppets.accounts.len()), (1, 1));
    assert!(network.tls_ca.is_some() && network.bot.sasl.is_some());
}

/// What the example shows commented out as a default is the default, and what it shows in the open is too.
#[test]
fn the_example_configuration_shows_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let minimal = "[homeserver]\nurl = \"http://127.0.0.1:8008\"\nserver_name = \"example.org\"\n\
                   [network.libera]\nname = \"Libera.Chat\"\nservers = [\"irc.libera.chat:6697\"]\n";
    let examples = ["key_file", "tls_ca", "encoding", "password", "sasl_account", "sasl_password"];
    let example = uncommented(&read("config.example.toml"));
    let mut repeated = false;
    let shown = example.lines().filter(|line| {
        repeated = (repeated && !line.starts_with('[')) || line.starts_with("[[");
        !repeated && !examples.contains(&line.split(" = ").next().unwrap_or_default())
    });
    let shown: Vec<_> = shown.collect();
    let load = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        // Secrets don't show in the debug form.
        format!("{config:#?}{}", config.database.url.expose())
    };
    assert_eq!(load("shown.toml", &shown.join("\n")), load("minimal.toml", minimal));
}

#[test]
fn the_example_registration_is_what_the_example_configuration_gives() {
    let config = Config::load(&repository("config.example.toml")).unwrap();
    let mut registration = Registration::generate(&config, None, &mut rand::rng());
    registration.as_token = Secret::new("a-secret-of-ours".to_owned());
    registration.hs_token = Secret::new("a-secret-of-the-homeserver".to_owned());
    assert_eq!(read("registration.yaml.example"), registration.to_yaml(), "run `footbridge registration` and compare");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ARCHITECTURE.md"] {
        let text = read(document);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(repository(file).exists(), "{document} links to {link}, which isn't there");
        }
    }
}

/// The commands that the README tells an operator to type are those that the program knows.
#[test]
fn the_commands_in_the_readme_exist() {
    let readme = read("README.md");
    let commands: Vec<_> = readme.lines().filter(|line| line.starts_with("footbridge ")).collect();
    assert_eq!(commands.len(), 3, "registration, check, run: {commands:?}");
    let folder = tempfile::tempdir().unwrap();
    for command in commands {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_footbridge"))
            .args(command.split(' ').skip(1))
            .current_dir(folder.path())
            .output()
            .unwrap();
        // There is no config.toml in the folder: the command line was understood, and the configuration is missed.
        assert_eq!(output.status.code(), Some(78), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// CI runs what the README says, and nothing else.
#[test]
fn ci_runs_the_command_of_the_readme() {
    assert!(read("README.md").contains("\nmake test "));
    assert!(read(".ci/run").ends_with("\nexec make test\n"));
}

/// The unit file speaks of the files, the user and the exit codes that the README speaks of, in words that the program knows.
#[test]
fn the_service_is_the_one_of_the_readme() {
    let (unit, readme) = (read("contrib/footbridge.service"), read("README.md"));
    let setting = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("the unit has no {key}"))
    };
    let words: Vec<_> = setting("ExecStart").split(' ').collect();
    let [program, arguments @ ..] = &*words else { panic!("ExecStart names a program") };
    let (folder, name) = program.rsplit_once('/').unwrap();
    assert!(
        name == "footbridge" && readme.contains(&format!("install target/release/footbridge {folder}/")),
        "{program}"
    );
    let config = Path::new(arguments.iter().find(|word| word.starts_with('/')).unwrap());
    let folder = config.parent().unwrap().display();
    assert!(readme.contains(&format!("config.toml registration.yaml {folder}/")), "{}", config.display());
    assert!(readme.contains(&format!("check --config {}", config.display())), "what is run was checked as it is run");
    assert!(readme.contains(&format!("sqlite:///var/lib/{}/", setting("StateDirectory"))));
    assert_eq!(setting("WorkingDirectory"), format!("/var/lib/{}", setting("StateDirectory")));
    assert!(readme.contains(&format!("useradd --system --home-dir {}", setting("WorkingDirectory"))));
    assert!(
        readme.contains(&format!("/usr/sbin/nologin {}\n", setting("User"))) && setting("User") == setting("Group")
    );
    assert_eq!(setting("RestartPreventExitStatus"), "2 78");
    assert!(readme.contains("2 for a command line and 78 for a configuration that it can't use"));

    // The command line is understood, and the configuration is missed.
    let nowhere = tempfile::tempdir().unwrap().path().join("config.toml");
    let nowhere = nowhere.to_str().unwrap();
    let arguments = arguments.iter().map(|word| if word.starts_with('/') { nowhere } else { word });
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_footbridge")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
}

/// systemd itself has nothing to say against the unit file, where there is a systemd.
#[test]
fn the_service_is_one_that_systemd_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("footbridge.service");
    let program = env!("CARGO_BIN_EXE_footbridge");
    fs::write(&file, read("contrib/footbridge.service").replace("/usr/local/bin/footbridge", program)).unwrap();
    match std::process::Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output() {
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{words}");
            assert!(!words.contains("footbridge.service:"), "{words}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}
