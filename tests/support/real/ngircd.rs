//! `ngIRCd`: a server whose only capability is multi-prefix.

use std::{net::SocketAddr, process::Command};

use super::write;
use crate::support::{
    IrcClient,
    process::{Daemon, Launch, Owner, folder, free_port, irc_answers, program},
};

/// A running `ngIRCd`, without TLS.
pub struct NgIrcd {
    daemon: Daemon,
    address: SocketAddr,
}

impl NgIrcd {
    /// Starts a server with the name `ng.test` whose nicks have at most 16 characters.
    pub fn start() -> Self {
        Self::start_with_nick_length(16)
    }

    /// The same with another longest nick (at most 31).
    pub fn start_with_nick_length(nick_length: usize) -> Self {
        let binary = program("/usr/sbin/ngircd");
        // It wants to change to a user when it is started by root, so it is started as that user.
        let owner = Owner::find("irc");
        let folder = folder("ngircd", owner.as_ref()).keep();
        let port = free_port();
        let config = folder.join("ngircd.conf");
        write(
            &config,
            &format!(
                "[Global]\nName = ng.test\nInfo = Test\nNetwork = NgNet\nPorts = {port}\nListen = 127.0.0.1\nMotdPhrase = \"Hello\"\n\
                 [Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxJoins = 0\nMaxNickLength = {nick_length}\nMaxPenaltyTime = 0\n\
                 PingTimeout = 120\nPongTimeout = 60\n\
                 [Options]\nIdent = no\nDNS = no\nPAM = no\nSyslogFacility = local1\n"
            ),
        );
        let mut command = Command::new(binary);
        command.arg("-n").arg("-f").arg(&config).current_dir(&folder);
        let daemon =
            Launch { owner, cleanup: Some(&folder), ..Launch::new("ngIRCd", &folder.join("out.log")) }.start(command);
        let mut server = Self { daemon, address: ([127, 0, 0, 1], port).into() };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let address = self.address;
        self.daemon.wait_until("it answers", || irc_answers(address));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A person on this server, connected and welcomed.
    pub async fn client(&self, nick: &str) -> IrcClient {
        IrcClient::connect(self.address, nick).await
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
