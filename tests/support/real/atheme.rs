//! Atheme: the services of an `InspIRCd`, with which people register accounts and log in to them (SASL).

use std::{path::Path, process::Command, time::Instant};

use super::{InspIrcd, write};
use crate::support::{
    IrcClient,
    process::{Daemon, Launch, Owner, POLL, folder, free_port, program},
    wait::DEADLINE,
};

/// Running services, linked with their server.
pub struct Atheme {
    daemon: Daemon,
}

impl Atheme {
    /// Starts an `InspIRCd` and its services, and waits until they know each other.
    pub async fn with_inspircd() -> (InspIrcd, Self) {
        let port = free_port();
        let ircd = InspIrcd::start_with(&uplink(port));
        let owner = Owner::find("irc");
        let folder = folder("atheme", owner.as_ref()).keep();
        write(&folder.join("atheme.conf"), &config(port));
        let file = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new(program(Path::new("/usr/bin/atheme-services")));
        command.args(["-n", "-c", &file("atheme.conf"), "-l", &file("atheme.log"), "-p", &file("atheme.pid")]);
        command.arg("-D").arg(&folder).current_dir(&folder);
        let log = folder.join("out.log");
        let launch = Launch { owner, cleanup: Some(&folder), ..Launch::new("Atheme", &log) };
        let mut services = Self { daemon: launch.start(command) };
        services.linked(&ircd).await;
        (ircd, services)
    }

    /// Waits until their server has them.
    async fn linked(&mut self, ircd: &InspIrcd) {
        let deadline = Instant::now() + DEADLINE;
        while !are_linked(ircd).await {
            self.daemon.check("its server has it", deadline);
        }
    }

    /// Registers an account.
    pub async fn register(&self, ircd: &InspIrcd, account: &str, password: &str) {
        let somebody: IrcClient = ircd.client(account).await;
        somebody.say("NickServ", &format!("REGISTER {password} {account}@irc.test")).await;
        somebody.expect("the account", |line| line.is("900")).await;
        somebody.quit("registered").await;
    }

    /// Ends them, and waits until their server has noticed. They write down what they know first, which takes a moment.
    pub async fn end(&mut self, ircd: &InspIrcd) {
        self.daemon.signal("TERM");
        while self.daemon.exit_status().is_none() {
            tokio::time::sleep(POLL).await;
        }
        self.daemon.stop();
        while are_linked(ircd).await {}
    }

    /// Starts them again, and waits until their server has them back.
    pub async fn start_again(&mut self, ircd: &InspIrcd) {
        self.daemon.start_again();
        self.linked(ircd).await;
    }
}

/// Whether somebody who is on the server now sees the services.
async fn are_linked(ircd: &InspIrcd) -> bool {
    let somebody = ircd.client("asks").await;
    somebody.raw("ISON NickServ").await;
    let answer = somebody.expect("the answer", |line| line.is("303")).await;
    somebody.quit("answered").await;
    somebody.expect_closed().await;
    answer.text().contains("NickServ")
}

/// What `InspIRCd` has to know of its services, which call on this port.
fn uplink(port: u16) -> String {
    let modules =
        "<module name=\"cban\"><module name=\"servprotect\"><module name=\"spanningtree\"><module name=\"svshold\">";
    format!(
        "{modules}\n<bind address=\"127.0.0.1\" port=\"{port}\" type=\"servers\">\n<link name=\"services.test\" \
         ipaddr=\"127.0.0.1\" port=\"{port}\" allowmask=\"127.0.0.0/8\" sendpass=\"linked\" recvpass=\"linked\">\n"
    )
}

fn config(port: u16) -> String {
    format!(
        r#"loadmodule "modules/protocol/inspircd";
loadmodule "modules/backend/opensex";
loadmodule "modules/crypto/pbkdf2v2";
crypto {{ pbkdf2v2_rounds = 10000; }};
loadmodule "modules/nickserv/main";
loadmodule "modules/nickserv/register";
loadmodule "modules/saslserv/main";
loadmodule "modules/saslserv/plain";
serverinfo {{
    name = "services.test";
    desc = "Services";
    numeric = "01A";
    recontime = 1;
    netname = "TestNet";
    hidehostsuffix = "users.irc.test";
    adminname = "test";
    adminemail = "test@irc.test";
    registeremail = "noreply@irc.test";
    auth = none;
    casemapping = rfc1459;
}};
uplink "irc.test" {{
    host = "127.0.0.1";
    port = {port};
    send_password = "linked";
    receive_password = "linked";
}};
nickserv {{ nick = "NickServ"; user = "NickServ"; host = "services.test"; real = "Accounts"; }};
saslserv {{ nick = "SaslServ"; user = "SaslServ"; host = "services.test"; real = "Logins"; }};
"#
    )
}
