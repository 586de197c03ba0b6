//! Where a story takes place: an IRC server of its own, the shared Synapse, and a bridge that nobody else uses.

use std::{net::SocketAddr, sync::Arc};

use serde_json::json;

use crate::support::{
    Bridge, Event, IrcClient, IrcLine, MatrixUser, Network, Registration,
    bridge::BridgeBuilder,
    real::{InspIrcd, NgIrcd, Synapse},
};

/// The channel of most stories.
pub(crate) const TEA: &str = "#tea";

/// The kinds of IRC server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    InspIrcd,
    NgIrcd,
}

/// An IRC server of either kind.
pub(crate) enum Ircd {
    Insp(InspIrcd),
    Ng(NgIrcd),
}

impl Ircd {
    pub(crate) fn start(kind: Kind) -> Self {
        match kind {
            Kind::InspIrcd => Self::Insp(InspIrcd::start()),
            Kind::NgIrcd => Self::Ng(NgIrcd::start()),
        }
    }

    /// Where people connect: without TLS.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Insp(server) => server.address(),
            Self::Ng(server) => server.address(),
        }
    }

    /// Where the bridge connects: with TLS where the server has it.
    pub(crate) fn bridge_address(&self) -> SocketAddr {
        match self {
            Self::Insp(server) => server.tls_address(),
            Self::Ng(server) => server.address(),
        }
    }

    /// The network as the bridge reaches it.
    pub(crate) fn network(&self, id: &str) -> Network {
        let network = Network::new(id, self.bridge_address());
        match self {
            Self::Insp(server) => network.tls(server.certificate()),
            Self::Ng(_) => network,
        }
    }

    /// Ends at once, as in a crash.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Insp(server) => server.kill(),
            Self::Ng(server) => server.kill(),
        }
    }

    /// Is back, where it was.
    pub(crate) fn start_again(&mut self) {
        match self {
            Self::Insp(server) => server.start_again(),
            Self::Ng(server) => server.start_again(),
        }
    }
}

/// One story's servers.
pub(crate) struct Town {
    ircd: Ircd,
    /// Where the town doesn't share its homeserver, because it is to fail.
    own_synapse: Option<Synapse>,
    registration: Registration,
}

/// A town in which the bridge runs and [`TEA`] is plumbed to a room, with one person on each side.
pub(crate) struct Bridged {
    pub(crate) town: Town,
    pub(crate) bridge: Bridge,
    /// In the room from the start, its creator.
    pub(crate) alice: MatrixUser,
    /// In the channel from the start, its operator.
    pub(crate) dora: IrcClient,
    pub(crate) room: String,
}

impl Town {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::around(Ircd::start(kind))
    }

    /// A town around a server of its own.
    pub(crate) fn around(ircd: Ircd) -> Self {
        Self { ircd, own_synapse: None, registration: Synapse::shared().take_registration() }
    }

    /// A town whose network has a second server.
    pub(crate) fn with_two_servers() -> (Self, InspIrcd) {
        let (hub, leaf) = InspIrcd::start_two();
        (Self::around(Ircd::Insp(hub)), leaf)
    }

    /// A town with an `InspIRCd` that refuses whoever has this in their user name (a K-line).
    pub(crate) fn refusing(user: &str) -> Self {
        let ban = format!("<badhost host=\"*{user}*@*\" reason=\"not in this town\">");
        Self::around(Ircd::Insp(InspIrcd::start_with(&ban)))
    }

    /// A town whose homeserver can be killed.
    pub(crate) fn with_own_synapse(self) -> Self {
        let own_synapse = Some(Synapse::start(std::slice::from_ref(&self.registration)));
        Self { own_synapse, ..self }
    }

    pub(crate) fn synapse(&self) -> &Synapse {
        self.own_synapse.as_ref().unwrap_or_else(|| Synapse::shared())
    }

    /// The town's own homeserver.
    pub(crate) fn own_synapse(&mut self) -> &mut Synapse {
        self.own_synapse.as_mut().expect("the town was made with its own")
    }

    /// Its server, where that is an `InspIRCd`.
    pub(crate) fn inspircd(&self) -> &InspIrcd {
        match &self.ircd {
            Ircd::Insp(server) => server,
            Ircd::Ng(_) => panic!("this town has ngIRCd"),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.ircd {
            Ircd::Insp(_) => Kind::InspIrcd,
            Ircd::Ng(_) => Kind::NgIrcd,
        }
    }

    /// The network's id in the bridge's configuration.
    pub(crate) fn network_id(&self) -> &str {
        self.registration.prefixes[0].trim_start_matches("irc_").trim_end_matches('_')
    }

    /// The network as the bridge reaches it: with TLS where the server has it.
    pub(crate) fn network(&self) -> Network {
        self.ircd.network(self.network_id())
    }

    /// Where the bridge connects.
    pub(crate) fn bridge_address(&self) -> SocketAddr {
        self.ircd.bridge_address()
    }

    /// A bridge between the homeserver and this network.
    pub(crate) fn bridge(&self, network: Network) -> BridgeBuilder {
        Bridge::of(&self.synapse().url(), &self.registration).network(network)
    }

    /// The bot's Matrix id.
    pub(crate) fn bot(&self) -> String {
        self.registration.bot()
    }

    /// The bot, as the bridge speaks for it.
    pub(crate) fn bot_itself(&self) -> MatrixUser {
        MatrixUser::on_server(&self.synapse().url(), self.bot(), self.registration.as_token.clone())
    }

    /// The Matrix id of the ghost of a nick that needs no escape.
    pub(crate) fn ghost(&self, nick: &str) -> String {
        format!("@irc_{}_{nick}:{}", self.network_id(), Synapse::SERVER_NAME)
    }

    /// The alias of a channel; the name with its `#`.
    pub(crate) fn alias(&self, channel: &str) -> String {
        format!("#irc_{}_{channel}:{}", self.network_id(), Synapse::SERVER_NAME)
    }

    /// A Matrix user with this display name. Names are the town's own, ids are unique.
    pub(crate) async fn person(&self, name: &str) -> MatrixUser {
        self.person_called(name, name).await
    }

    /// A Matrix user whose id begins with `name`, and who is shown otherwise.
    pub(crate) async fn person_called(&self, name: &str, display_name: &str) -> MatrixUser {
        let user = self.synapse().user(&format!("{name}.{}", self.network_id())).await;
        user.set_display_name(display_name).await;
        user
    }

    /// Somebody on IRC.
    pub(crate) async fn client(&self, nick: &str) -> IrcClient {
        IrcClient::connect(self.ircd.address(), nick).await
    }

    /// Somebody in a channel.
    pub(crate) async fn in_channel(&self, nick: &str, channel: &str) -> IrcClient {
        let client = self.client(nick).await;
        client.join(channel).await;
        client
    }

    /// A room that anybody may join and whose topic and members the bridge's bot may change.
    ///
    /// The bot isn't invited: Synapse would tell a bridge that isn't there yet, and then wait for seconds before it tries again.
    pub(crate) async fn room(&self, owner: &MatrixUser) -> String {
        let powers = json!({ "users": { self.bot(): 100 } });
        owner.create_room(json!({ "preset": "public_chat", "power_level_content_override": powers })).await
    }

    /// The IRC server ends at once, as in a crash.
    pub(crate) fn kill_ircd(&mut self) {
        self.ircd.kill();
    }

    /// The IRC server is back, where it was.
    pub(crate) fn start_ircd(&mut self) {
        self.ircd.start_again();
    }

    /// Plumbs [`TEA`] to a room and starts the bridge.
    pub(crate) async fn bridged(self) -> Bridged {
        self.bridged_with(|network| network, |bridge| bridge).await
    }

    /// The same with another configuration.
    pub(crate) async fn bridged_with(
        self,
        network: impl FnOnce(Network) -> Network,
        bridge: impl FnOnce(BridgeBuilder) -> BridgeBuilder,
    ) -> Bridged {
        let alice = self.person("alice").await;
        let room = self.room(&alice).await;
        let dora = self.in_channel("dora", TEA).await;
        let network = network(self.network().plumb(TEA, &room));
        let bridge = bridge(self.bridge(network)).start().await;
        expect_join(&dora, "footbridge", TEA).await;
        alice.expect_membership(&room, &self.ghost("dora"), "join").await;
        Bridged { town: self, bridge, alice, dora, room }
    }
}

impl Bridged {
    /// Lets a Matrix user into the room and waits until their puppet is in the channel.
    pub(crate) async fn newcomer(&self, name: &str) -> MatrixUser {
        let user = self.town.person(name).await;
        user.join(&self.room).await;
        expect_join(&self.dora, &puppet(name), TEA).await;
        user
    }

    /// Has alice say something, so that her puppet is there.
    pub(crate) async fn alice_is_there(&self) {
        self.alice.say(&self.room, "here I am").await;
        self.dora.expect_text(TEA, |nick| nick == puppet("alice"), "here I am").await;
    }

    /// Waits until whatever was said on IRC before is in the room, by saying something more.
    pub(crate) async fn matrix_has_heard(&self, last: &str) {
        self.dora.say(TEA, last).await;
        self.alice.expect_message(&self.room, |sender| sender == self.town.ghost("dora"), last).await;
    }

    /// Waits for a notice that the bridge itself says in the room and whose text has `part`.
    pub(crate) async fn expect_told(&self, part: &str) -> Arc<Event> {
        expect_notice(&self.alice, &self.room, &self.town.bot(), part).await
    }
}

/// The nick of the puppet of a Matrix user of this display name.
pub(crate) fn puppet(name: &str) -> String {
    format!("{name}[m]")
}

/// Waits until `client` sees somebody join a channel.
pub(crate) async fn expect_join(client: &IrcClient, nick: &str, channel: &str) -> IrcLine {
    client
        .expect(&format!("{nick} joining {channel}"), |line| {
            line.is("JOIN") && line.nick() == nick && line.param(0).eq_ignore_ascii_case(channel)
        })
        .await
}

/// Waits for an `m.notice` of `sender` whose body has `part`.
pub(crate) async fn expect_notice(user: &MatrixUser, room: &str, sender: &str, part: &str) -> Arc<Event> {
    user.wait_for(room, &format!("a notice of {sender} with `{part}`"), |events| {
        let is = |event: &&Arc<Event>| {
            event.is_message() && event.sender == sender && event.msgtype() == "m.notice" && event.body().contains(part)
        };
        events.iter().find(is).cloned()
    })
    .await
}

/// The bodies of all messages of `sender` among these events, in order.
pub(crate) fn bodies<'a>(events: &'a [Arc<Event>], sender: &str) -> Vec<&'a str> {
    events.iter().filter(|event| event.is_message() && event.sender == sender).map(|event| event.body()).collect()
}

/// What WHOIS says of a nick: user name, host, real name.
pub(crate) async fn whois(client: &IrcClient, nick: &str) -> (String, String, String) {
    client.raw(&format!("WHOIS {nick}")).await;
    let answer = client.expect(&format!("WHOIS of {nick}"), |line| line.is("311") && line.param(1) == nick).await;
    (answer.param(2).to_owned(), answer.param(3).to_owned(), answer.text().to_owned())
}

/// Every channel that there is, sorted, without those (`&`) that the server made for itself.
pub(crate) async fn channels(client: &IrcClient) -> Vec<String> {
    let before = client.lines().len();
    client.raw("LIST").await;
    client.expect("the end of LIST", |line| line.is("323")).await;
    let lines = client.lines();
    let listed = lines[before..].iter().filter(|line| line.is("322")).map(|line| line.param(1));
    let mut channels: Vec<String> = listed.filter(|name| !name.starts_with('&')).map(ToOwned::to_owned).collect();
    channels.sort_unstable();
    channels
}
