//! What configurations are taken, and what is said about those that aren't.

use super::*;
use crate::translate::NickTemplate;

const MINIMAL: &str = r#"
[homeserver]
url = "http://127.0.0.1:8008"
server_name = "example.org"
[network.libera]
servers = ["irc.libera.chat:6697"]
"#;

fn env(name: &str) -> Option<String> {
    (name == "PASSWORD").then(|| "from-the-environment".to_owned())
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/footbridge/config.toml"), &env)
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        other => panic!("expected problems in\n{text}\ngot {other:?}"),
    }
}

/// The only network of a configuration.
fn network(text: &str) -> Network {
    parse(text).unwrap().networks.into_values().next().unwrap()
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.homeserver.url.as_str(), "http://127.0.0.1:8008");
    assert_eq!(config.appservice.registration, Path::new("/etc/footbridge/registration.yaml"));
    assert_eq!(config.appservice.bind.to_string(), "127.0.0.1:9995");
    assert_eq!(config.appservice.url.as_str(), "http://127.0.0.1:9995");
    assert_eq!(config.bot_user_id(), "@footbridge:example.org");
    assert_eq!(config.database.url.expose(), "sqlite:///etc/footbridge/footbridge.db");
    assert_eq!(config.database.engine, Engine::Sqlite);

    let (id, network) = config.networks.iter().next().unwrap();
    assert_eq!((id.as_str(), network.name.as_str()), ("libera", "libera"));
    assert_eq!(network.servers, [ServerAddress { host: "irc.libera.chat".to_owned(), port: 6697 }]);
    assert!(network.tls && network.tls_ca.is_none() && network.password.is_none());
    assert_eq!(network.encoding, encoding_rs::WINDOWS_1252);
    assert_eq!(network.bot.nick, "footbridge");
    assert_eq!(network.bot.realname, "Footbridge, a Matrix bridge");
    assert!(network.bot.sasl.is_none());
    assert_eq!(network.puppets.nick, NickTemplate::new("{display}[m]").unwrap());
    assert_eq!(network.puppets.limit, 1000);
    assert_eq!(network.puppets.message_max_age_seconds, 600);
    assert_eq!(network.puppets.max_lines, 50);
    assert!(network.puppets.accounts.is_empty());
    assert_eq!(network.ghosts.localpart.around(), ("irc_libera_", ""));
    assert_eq!(network.ghosts.display_name.display_name("Ann"), "Ann");
    assert_eq!(network.ghosts.join_below, 1000);
    assert_eq!(network.ghosts.netsplit_hold_seconds, 300);
    assert_eq!(network.portals.members, None);
    assert_eq!((config.homeserver.memberships_per_second, config.homeserver.compare_seconds), (50, 60));
    assert!(!network.portals.join_by_alias);
    assert_eq!(network.portals.alias.around(), ("irc_libera_", ""));
    assert_eq!(network.limits, Limits { connects_per_minute: 4, line_burst: 4, lines_per_second: 0.5 });
    assert!(network.plumbs.is_empty());
}

#[test]
fn what_is_given_is_taken() {
    let network = network(&format!(
        r##"{MINIMAL}
        name = "Libera.Chat"
        tls_ca = "ca.pem"
        encoding = "latin2"
        password = "pass"
        [network.libera.bot]
        sasl_account = "bot"
        sasl_password = {{ env = "PASSWORD" }}
        [network.libera.limits]
        connects_per_minute = 0
        lines_per_second = 2
        [[network.libera.plumb]]
        channel = "#one"
        room = "!abc:example.org"
        key = "sesame"
        [[network.libera.plumb]]
        channel = "#two"
        key = ""
        room = "#two:example.org"
        [[network.libera.plumb]]
        channel = "#three"
        room = "!three:example.org"
        key = {{ env = "PASSWORD" }}
        [[network.libera.puppets.account]]
        user = "@alice:example.org"
        sasl_account = "alice"
        sasl_password = "wonder"
        "##
    ));
    assert_eq!(network.name, "Libera.Chat");
    assert_eq!(network.tls_ca.as_deref(), Some(Path::new("/etc/footbridge/ca.pem")));
    assert_eq!(network.encoding, encoding_rs::ISO_8859_2);
    assert_eq!(network.password.unwrap().expose(), "pass");
    let sasl = network.bot.sasl.unwrap();
    assert_eq!((sasl.account.as_str(), sasl.password.expose()), ("bot", "from-the-environment"));
    assert_eq!((network.limits.connects_per_minute, network.limits.lines_per_second.to_bits()), (0, 2f64.to_bits()));
    let plumbs: Vec<_> =
        network.plumbs.iter().map(|p| (p.channel.as_str(), p.key.as_ref().map(Secret::expose))).collect();
    assert_eq!(plumbs, [("#one", Some("sesame")), ("#two", None), ("#three", Some("from-the-environment"))]);
    assert!(!format!("{:?}", network.plumbs).contains("sesame"));
    let (user, account) = network.puppets.accounts.first_key_value().unwrap();
    assert_eq!((user.as_str(), account.account.as_str()), ("@alice:example.org", "alice"));
}

#[test]
fn a_secret_may_be_in_a_file_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "of the file\n").unwrap();
    let text = format!("{MINIMAL}password = {{ file = \"secret\" }}");
    let config = Config::parse(&text, &folder.path().join("config.toml"), &env).unwrap();
    let network = config.networks.into_values().next().unwrap();
    assert_eq!(network.password.unwrap().expose(), "of the file");
}

#[test]
fn no_secret_is_printed() {
    let text = format!("{MINIMAL}password = \"hunter2\"\n[database]\nurl = \"postgres://user:hunter2@host/db\"");
    let printed = format!("{:?}", parse(&text).unwrap());
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn servers_are_names_or_addresses() {
    for (text, host, port) in [
        ("irc.example.org:6697", "irc.example.org", 6697),
        ("[::1]:6667", "::1", 6667),
        ("127.0.0.1:1", "127.0.0.1", 1),
    ] {
        let network = network(&MINIMAL.replace("irc.libera.chat:6697", text));
        assert_eq!(network.servers, [ServerAddress { host: host.to_owned(), port }]);
        assert_eq!(network.servers[0].to_string(), text);
    }
}

/// Lines added to the network's section (or sections of their own), the key that is to be blamed, and what has to be
/// said of it.
#[test]
fn each_mistake_is_named_with_its_cure() {
    let cases: &[(&str, &str, &str)] = &[
        // Unknown keys and wrong kinds.
        ("nam = 1", "network.libera.nam", "did you mean `name`?"),
        ("[network.libera.bot]\nnik = \"a\"", "network.libera.bot.nik", "did you mean `nick`?"),
        ("[networks.oftc]", "networks", "did you mean `network`?"),
        ("[[network.libera.plumb]]\nchannel=\"#a\"\nroom=\"!a:b\"\nkeys=\"\"", "network.libera.plumb[0].keys", "`key`"),
        ("tls = \"yes\"", "network.libera.tls", "expected true or false, without quotes, found a text"),
        ("bot = \"nick\"", "network.libera.bot", "[network.libera.bot]"),
        ("[network.libera.plumb]\nchannel = \"#a\"", "network.libera.plumb", "[[network.libera.plumb]]"),
        ("[homeserver.x]", "homeserver.x", "did you mean `url`?"),
        // Networks.
        ("[network.Foo]\nservers = [\"a:1\"]", "network.Foo", "a-z and 0-9"),
        ("[network.b]", "network.b.servers", "missing"),
        ("[network.b]\nservers = []", "network.b.servers", "at least one server"),
        ("[network.b]\nservers = \"a:1\"", "network.b.servers", "brackets"),
        ("[network.b]\nservers = [\"irc.example.org\"]", "network.b.servers", "no port"),
        ("[network.b]\nservers = [\"irc.example.org:0\"]", "network.b.servers", "1 to 65535"),
        ("[network.b]\nservers = [\"::1\"]", "network.b.servers", "brackets"),
        ("[network.b]\nservers = [\"[nine]:6667\"]", "network.b.servers", "IPv6"),
        ("[network.b]\nservers = [\"irc://a:6667\"]", "network.b.servers", "no valid host"),
        ("[network.b]\nservers = [\":6667\"]", "network.b.servers", "no valid host"),
        ("tls = false\ntls_ca = \"ca.pem\"", "network.libera.tls_ca", "without TLS"),
        ("encoding = \"klingon\"", "network.libera.encoding", "windows-1252"),
        ("encoding = \"utf-16\"", "network.libera.encoding", "contains ASCII"),
        ("name = \"a\\nb\"", "network.libera.name", "one plain line"),
        // Secrets.
        ("password = \"\"", "network.libera.password", "empty"),
        ("password = \"a\\r\\nQUIT\"", "network.libera.password", "more than one line"),
        ("password = { env = \"NOT_THERE\" }", "network.libera.password", "no variable NOT_THERE"),
        ("password = { file = \"not/there\" }", "network.libera.password", "/etc/footbridge/not/there"),
        ("password = { fiel = \"x\" }", "network.libera.password", "{ file = "),
        ("[network.libera.bot]\nsasl_account = \"a\"", "network.libera.bot.sasl_account", "add sasl_password"),
        ("[network.libera.bot]\nsasl_password = \"a\"", "network.libera.bot.sasl_password", "add sasl_account"),
        // Names.
        ("[network.libera.bot]\nnick = \"1a\"", "network.libera.bot.nick", "not beginning with a digit"),
        ("[network.libera.bot]\nnick = \"a b\"", "network.libera.bot.nick", "no nick"),
        ("[network.libera.puppets]\nnick = \"m\"", "network.libera.puppets.nick", "{display}"),
        ("[network.libera.puppets]\nnick = \"{nick}\"", "network.libera.puppets.nick", "stands for nothing"),
        ("[network.libera.puppets]\nnick = \"{display} m\"", "network.libera.puppets.nick", "' '"),
        ("[network.libera.puppets]\nlimit = -1", "network.libera.puppets.limit", "from 0"),
        ("[network.libera.puppets]\nmax_lines = 1.5", "network.libera.puppets.max_lines", "whole number"),
        ("[network.libera.ghosts]\nlocalpart = \"irc_\"", "network.libera.ghosts.localpart", "{nick}"),
        ("[network.libera.ghosts]\nlocalpart = \"{nick}\"", "network.libera.ghosts.localpart", "own users"),
        ("[network.libera.ghosts]\nlocalpart = \"IRC_{nick}\"", "network.libera.ghosts.localpart", "'I'"),
        ("[network.libera.ghosts]\nlocalpart = \"i{nick}{nick}\"", "network.libera.ghosts.localpart", "more than once"),
        (
            "[network.libera.ghosts]\nlocalpart = \"foot{nick}\"",
            "network.libera.ghosts.localpart",
            "looks like a ghost",
        ),
        ("[network.libera.ghosts]\ndisplay_name = \"IRC\"", "network.libera.ghosts.display_name", "{nick}"),
        ("[network.libera.portals]\nalias = \"{channel}\"", "network.libera.portals.alias", "all aliases"),
        ("[network.libera.portals]\nalias = \"irc\"", "network.libera.portals.alias", "{channel}"),
        ("[network.libera.portals]\nalias = \"i:{channel}\"", "network.libera.portals.alias", "':'"),
        ("[network.libera.limits]\nlines_per_second = -0.5", "network.libera.limits.lines_per_second", "from 0"),
        ("[network.libera.limits]\nlines_per_second = nan", "network.libera.limits.lines_per_second", "from 0"),
        // The other sections.
        ("[appservice]\nbind = \"localhost\"", "appservice.bind", "IP:port"),
        ("[appservice]\nurl = \"127.0.0.1:9995\"", "appservice.url", "http://"),
        ("[appservice]\nurl = \"ftp://a\"", "appservice.url", "http://"),
        ("[appservice]\nbot_localpart = \"Bot\"", "appservice.bot_localpart", "a-z"),
        ("[database]\nurl = \"mysql://a\"", "database.url", "`mysql://` is no database"),
        ("[database]\nurl = \"footbridge.db\"", "database.url", "sqlite://"),
    ];
    for (lines, key, words) in cases {
        let found = problems(&format!("{MINIMAL}{lines}"));
        let told = found.iter().any(|problem| problem.key == *key && problem.message.contains(words));
        assert!(told, "{lines}\nshould blame {key} with «{words}», got {found:#?}");
        assert_eq!(found.len(), 1, "{lines}\nis one mistake, got {found:#?}");
    }
}

#[test]
fn a_channel_and_a_room_that_cannot_be_are_refused() {
    for (channel, room, key, blamed, words) in [
        ("rust", "!a:b", "", "channel", "begin with #"),
        ("#a b", "!a:b", "", "channel", "' '"),
        ("#a,#b", "!a:b", "", "channel", "','"),
        ("#a\\r\\nQUIT", "!a:b", "", "channel", "'\\r'"),
        ("#a", "a", "", "room", "!abc:example.org"),
        ("#a", "@a:b", "", "room", "!abc:example.org"),
        ("#a", "!a:b", "a b", "key", "no blanks"),
        ("#a", "!a:b", ":a", "key", "colon"),
    ] {
        let key = if key.is_empty() { String::new() } else { format!("key = \"{key}\"") };
        let plumb = format!("[[network.libera.plumb]]\nchannel = \"{channel}\"\nroom = \"{room}\"\n{key}");
        let found = problems(&format!("{MINIMAL}{plumb}"));
        assert_eq!(found[0].key, format!("network.libera.plumb[0].{blamed}"), "{plumb}");
        assert!(found[0].message.contains(words), "{plumb}\n{found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn a_name_belongs_to_one_thing() {
    let second = |lines: &str| format!("{MINIMAL}[network.liberal]\nservers = [\"a:1\"]\n{lines}");
    assert!(parse(&second("")).is_ok(), "the default templates keep networks apart");
    for (lines, key) in [
        ("[network.liberal.ghosts]\nlocalpart = \"irc_{nick}\"", "network.liberal.ghosts.localpart"),
        ("[network.liberal.portals]\nalias = \"irc_{channel}\"", "network.liberal.portals.alias"),
    ] {
        let found = problems(&second(lines));
        assert_eq!((found[0].key.as_str(), found.len()), (key, 1), "{found:?}");
        assert!(found[0].message.contains("libera and liberal"), "{found:?}");
    }
    let plumb = |channel, room| format!("[[network.libera.plumb]]\nchannel = \"{channel}\"\nroom = \"{room}\"\n");
    for (again, key) in [(plumb("#A", "!b:b"), "channel"), (plumb("#b", "!a:b"), "room")] {
        let found = problems(&format!("{MINIMAL}{}{again}", plumb("#a", "!a:b")));
        assert_eq!((found[0].key.as_str(), found.len()), (format!("network.libera.plumb[1].{key}").as_str(), 1));
    }
    let account = "[[network.libera.puppets.account]]\nuser=\"@a:b\"\nsasl_account=\"a\"\nsasl_password=\"b\"\n";
    assert_eq!(problems(&format!("{MINIMAL}{account}{account}"))[0].key, "network.libera.puppets.account");
}

#[test]
fn everything_wrong_is_said_at_once_and_in_order() {
    let text = "[homeserver]\nurl = 5\n[network.a]\nservers = [\"a\"]\nnik = 1\ntls = 1\n[network.a.bot]\nnick = \"\"";
    let found = problems(text);
    let places: Vec<_> = found.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    assert_eq!(
        places,
        [
            (1, "homeserver.server_name"),
            (2, "homeserver.url"),
            (4, "network.a.servers"),
            (5, "network.a.nik"),
            (6, "network.a.tls"),
            (8, "network.a.bot.nick"),
        ]
    );
}

#[test]
fn an_error_reads_well() {
    let error = parse("[homeserver]\nurl = \"http://a\"\nserver_name = \"a\"\n").unwrap_err();
    let expected = "/etc/footbridge/config.toml has 1 problem:\n  \
                    network: there is no network: add a section [network.ID] with the servers of one";
    assert_eq!(error.to_string(), expected);
    let error = parse("[homeserver]\nurl = hunter2\n").unwrap_err().to_string();
    assert!(error.starts_with("/etc/footbridge/config.toml is not valid TOML: line 2: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let error = Config::load(Path::new("/not/there.toml")).unwrap_err().to_string();
    assert!(error.contains("/not/there.toml") && error.contains("--config"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[\\[?(homeserver|network\\.a|network\\.a\\.plumb)\\]?\\]\n|(url|servers|channel) = (\"[a-z:#{}\\[\\]]{0,6}\"|\\[\\]|[0-9.-]{1,3}|\\{\\})\n){0,8}") {
        let _ = parse(&text);
    }
}
