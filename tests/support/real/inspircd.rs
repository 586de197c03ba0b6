//! `InspIRCd` 3 with all its `IRCv3` modules.

use std::{fmt::Write as _, net::SocketAddr, process::Command};

use super::write;
use crate::support::{
    IrcClient,
    process::{Daemon, Launch, Owner, answers, folder, free_port, irc_answers, program},
    tls::SelfSigned,
};

/// A running `InspIRCd`. It listens on a plain port and on one with TLS.
pub struct InspIrcd {
    daemon: Daemon,
    plain: SocketAddr,
    tls: SocketAddr,
    certificate: SelfSigned,
}

/// The modules that are loaded, without those of the core.
const MODULES: &[&str] = &[
    "alias",
    "banexception",
    "cap",
    "cgiirc",
    "chghost",
    "customprefix",
    "deaf",
    "gecosban",
    "hidechans",
    "ident",
    "ircv3",
    "ircv3_accounttag",
    "ircv3_batch",
    "ircv3_capnotify",
    "ircv3_chghost",
    "ircv3_ctctags",
    "ircv3_echomessage",
    "ircv3_invitenotify",
    "ircv3_labeledresponse",
    "ircv3_msgid",
    "ircv3_servertime",
    "monitor",
    "muteban",
    "namesx",
    "redirect",
    "sasl",
    "services_account",
    "setname",
    "ssl_gnutls",
    "sslinfo",
    "uhnames",
];

impl InspIrcd {
    /// Starts a server with the name `irc.test`.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more lines of configuration.
    pub fn start_with(more: &str) -> Self {
        Self::start_as("irc.test", "00A", more)
    }

    /// Two servers that are one network; the second, `leaf.test`, has linked with the first.
    pub fn start_two() -> (Self, Self) {
        let port = free_port();
        let link = |with: &str, more: &str| {
            format!(
                "<module name=\"spanningtree\">\n<link name=\"{with}\" ipaddr=\"127.0.0.1\" port=\"{port}\" \
                 allowmask=\"127.0.0.0/8\" sendpass=\"linkpass\" recvpass=\"linkpass\">\n{more}"
            )
        };
        let listens = format!("<bind address=\"127.0.0.1\" port=\"{port}\" type=\"servers\">");
        let hub = Self::start_as("irc.test", "00A", &link("leaf.test", &listens));
        let connects = "<autoconnect period=\"1\" server=\"irc.test\">";
        let leaf = Self::start_as("leaf.test", "00B", &link("irc.test", connects));
        (hub, leaf)
    }

    fn start_as(name: &str, id: &str, more: &str) -> Self {
        let binary = program("/usr/sbin/inspircd");
        let owner = Owner::find("irc");
        let folder = folder("inspircd", owner.as_ref()).keep();
        let (plain, tls) = (free_port(), free_port());
        let certificate = SelfSigned::new();
        for (file, text) in [
            ("cert.pem", &certificate.certificate_pem),
            ("key.pem", &certificate.key_pem),
            ("inspircd.conf", &config(name, id, &folder.display().to_string(), plain, tls, more)),
        ] {
            write(&folder.join(file), text);
            if let Some(owner) = owner {
                owner.give(&folder.join(file));
            }
        }
        let mut command = Command::new(binary);
        command
            .arg("--nofork")
            .arg(format!("--config={}", folder.join("inspircd.conf").display()))
            .current_dir(&folder);
        let daemon =
            Launch { owner, cleanup: Some(&folder), ..Launch::new("InspIRCd", &folder.join("out.log")) }.start(command);
        let mut server =
            Self { daemon, plain: ([127, 0, 0, 1], plain).into(), tls: ([127, 0, 0, 1], tls).into(), certificate };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let (plain, tls) = (self.plain, self.tls);
        self.daemon.wait_until("it answers", || irc_answers(plain) && answers(tls));
    }

    /// Where it listens without TLS.
    pub fn address(&self) -> SocketAddr {
        self.plain
    }

    /// Where it listens with TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls
    }

    /// The certificate of the TLS port.
    pub fn certificate(&self) -> &SelfSigned {
        &self.certificate
    }

    /// A person on this server, connected and welcomed.
    pub async fn client(&self, nick: &str) -> IrcClient {
        IrcClient::connect(self.plain, nick).await
    }

    /// Ends it at once, as a crash does; [`Self::start_again`] brings it back.
    pub fn kill(&mut self) {
        self.daemon.stop();
    }

    /// Starts it again where it was, remembering nothing.
    pub fn start_again(&mut self) {
        self.daemon.start_again();
        self.wait();
    }
}

/// Everything that a bridge with many connections needs lifted, and no look-ups that wait for a resolver.
fn config(name: &str, id: &str, folder: &str, plain: u16, tls: u16, more: &str) -> String {
    let mut modules = String::new();
    for name in MODULES {
        let _ = writeln!(modules, "<module name=\"{name}\">");
    }
    format!(
        r#"<config format="xml">
<server name="{name}" description="Test" network="TestNet" id="{id}">
<admin name="test" nick="test" email="test@irc.test">
<path configdir="{folder}" datadir="{folder}" logdir="{folder}" runtimedir="{folder}" moduledir="/usr/lib/inspircd/modules">
<bind address="127.0.0.1" port="{plain}" type="clients">
<bind address="127.0.0.1" port="{tls}" type="clients" sslprofile="test">
<sslprofile name="test" provider="gnutls" certfile="{folder}/cert.pem" keyfile="{folder}/key.pem" requestclientcert="yes" hash="sha256">
<connect name="test" allow="*" timeout="60" pingfreq="120" fakelag="no" commandrate="1000000" threshold="1000000"
 localmax="100000" globalmax="100000" recvq="1048576" softsendq="16777216" hardsendq="16777216" useident="no" resolvehostnames="no" maxchans="500" modes="+x">
<performance softlimit="10000" somaxconn="1024" quietbursts="yes" nouserdns="yes">
<options defaultmodes="not" announcets="no" pingwarning="15" casemapping="rfc1459">
<channels users="500" opers="500">
<limits maxnick="31" maxchan="60" maxmodes="20" maxident="12" maxquit="255" maxtopic="390" maxkick="255" maxreal="128" maxaway="200">
<customprefix name="founder" letter="q" prefix="~" rank="50000" ranktoset="30000">
<customprefix name="admin" letter="a" prefix="&amp;" rank="40000" ranktoset="30000">
<customprefix name="halfop" letter="h" prefix="%" rank="20000" ranktoset="30000">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/ircd.log">
<dns server="127.0.0.1" timeout="1">
<cgihost type="webirc" password="webircpass" mask="127.0.0.0/8">
<sasl target="services.test" requiressl="no">
<uline server="services.test" silent="yes">
<whowas groupsize="10" maxgroups="1000">
{modules}{more}
"#
    )
}
