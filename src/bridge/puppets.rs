//! Puppets: the links that act for Matrix users, opened when first needed.
//!
//! Owner of which puppets exist and where they ought to be. A puppet's identity (its user name, and the nick it
//! had) comes from the database, so opening one takes a moment; what it is asked to do meanwhile waits here.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use ruma::{OwnedUserId, UserId};

use super::{
    dispatch::{Core, Input},
    keeper::{Fact, until_answered},
    network::Network,
    nicks::Nicks,
};
use crate::{
    irc::pool::{
        SendRefused,
        protocol::{LinkSpec, SaslPlain, Sealed},
    },
    model::{CaseMapping, ChannelKey, CommandId, Failure, Fate, Folded, IrcAction, LinkId, NetworkId, Reason},
    store::{PuppetIdentity, StoreError},
    translate,
};

/// How long puppets wait for what a server that is met for the first time says of itself.
const GREETING: Duration = Duration::from_secs(30);

/// One puppet.
pub(super) struct Puppet {
    /// Its user name, once known.
    pub(super) username: String,
    /// Its real name, once it is open.
    pub(super) realname: String,
    /// The nicks that it may be known by, the one it asks for first; none before it is open.
    nicks: Vec<String>,
    /// The nick it was last stored with.
    stored_nick: Option<String>,
    /// Channels it was told to be in.
    pub(super) wanted: HashMap<Folded, String>,
    /// Channels that may have opened while it was asking to come in: refused there, it asks once more.
    pub(super) again: HashSet<Folded>,
    /// Those of them that it is still to be told of, all at once.
    joining: Vec<ChannelKey>,
    /// What waits for its identity; `None` once the link is open.
    waiting: Option<Vec<(CommandId, IrcAction)>>,
}

/// All puppets.
#[derive(Default)]
pub(super) struct Puppets {
    pub(super) links: HashMap<LinkId, Puppet>,
    /// Those that are to be told of channels.
    joining: Vec<LinkId>,
    /// The user names of those whose users have left, and which may still have to come onto the network to say what was
    /// said before.
    leaving: HashMap<LinkId, String>,
    per_network: HashMap<NetworkId, u32>,
    nicks: HashMap<NetworkId, Nicks>,
    /// Who waits for the limits of a network that is met for the first time, or for the lists of who may not come.
    ungreeted: Vec<(LinkId, PuppetIdentity, Option<String>)>,
}

impl Puppets {
    /// Folds the channels of `network` anew after its case mapping became known or changed.
    pub(super) fn refold(&mut self, network: &NetworkId, mapping: CaseMapping) {
        for (_, puppet) in self.links.iter_mut().filter(|(link, _)| link.network() == network) {
            let wanted = std::mem::take(&mut puppet.wanted).into_values();
            puppet.wanted = wanted.map(|channel| (mapping.fold(&channel), channel)).collect();
        }
        if let Some(nicks) = self.nicks.get_mut(network) {
            nicks.refold(mapping);
        }
    }

    /// Keeps a nick for a user.
    pub(super) fn keep(&mut self, network: &NetworkId, user: &UserId, nick: &str, mapping: CaseMapping) {
        self.nicks.entry(network.clone()).or_default().keep(user, nick, mapping);
    }

    /// The user name of a puppet, once known.
    pub(super) fn username(&self, link: &LinkId) -> Option<&str> {
        let known = self.links.get(link).map(|puppet| puppet.username.as_str()).filter(|name| !name.is_empty());
        known.or_else(|| self.leaving.get(link).map(String::as_str))
    }

    /// A puppet that was to close has done so.
    pub(super) fn closed(&mut self, link: &LinkId) {
        self.leaving.remove(link);
    }

    /// Gives a puppet up: what waited for it comes back.
    pub(super) fn give_up(&mut self, link: &LinkId) -> Vec<CommandId> {
        let waiting = self.links.get_mut(link).and_then(|puppet| puppet.waiting.take()).unwrap_or_default();
        self.remove(link);
        waiting.into_iter().map(|(command, _)| command).collect()
    }

    pub(super) fn remove(&mut self, link: &LinkId) {
        if let Some(puppet) = self.links.remove(link) {
            if !puppet.username.is_empty() {
                self.leaving.insert(link.clone(), puppet.username);
            }
            *self.per_network.entry(link.network().clone()).or_default() -= 1;
        }
    }
}

impl Core {
    /// The puppet of `user`, made if there is none.
    ///
    /// # Errors
    /// [`Reason::PuppetLimit`] if there may be no more; [`Reason::Listed`] if this user may have none.
    pub(super) fn puppet(&mut self, network: &NetworkId, user: &UserId) -> Result<LinkId, Failure> {
        let link = LinkId::puppet(network.clone(), user.to_owned());
        if self.puppets.links.contains_key(&link) {
            return Ok(link);
        }
        if self.policies.exclude(user) {
            return Err(Failure::certain(Reason::Listed));
        }
        let limit = self.networks.get(network).map_or(0, |network| network.config.puppets.limit);
        let count = self.puppets.per_network.entry(network.clone()).or_default();
        if limit != 0 && *count >= limit {
            return Err(Failure::certain(Reason::PuppetLimit));
        }
        *count += 1;
        let puppet = Puppet {
            username: String::new(),
            realname: String::new(),
            nicks: Vec::new(),
            stored_nick: None,
            wanted: HashMap::new(),
            again: HashSet::new(),
            joining: Vec::new(),
            waiting: Some(Vec::new()),
        };
        self.puppets.links.insert(link.clone(), puppet);
        self.find_identity(&link, user.to_owned());
        Ok(link)
    }

    /// Asks for what a puppet needs to be opened: who it was before, and what its user is called.
    fn find_identity(&self, link: &LinkId, user: OwnedUserId) {
        let known = self.directory.rooms.values().find_map(|room| room.members.get(&user).cloned().flatten());
        let (store, matrix, answer, link) = (self.store.clone(), self.matrix.clone(), self.input.clone(), link.clone());
        tokio::spawn(async move {
            let base = translate::username_base(&user);
            // What waits for the puppet is in the journal, and waits for the database too.
            let identity = || store.puppet_identity(link.network(), &user, &base);
            let identity = until_answered("a puppet", identity).await;
            let name = match known {
                Some(name) => Some(name),
                // Without a name the nick is made of the localpart: no reason to keep anybody waiting.
                None => matrix.display_name(&user).await.unwrap_or_default(),
            };
            let _ = answer.send(Input::Identity { link, identity, name }).await;
        });
    }

    /// The database has said who a puppet is, or that it can't.
    pub(super) async fn on_identity(
        &mut self,
        link: LinkId,
        identity: Result<PuppetIdentity, StoreError>,
        name: Option<String>,
    ) {
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => {
                tracing::error!(link.id = %link, %error, "could not open a puppet: the database has no identity for it");
                for command in self.puppets.give_up(&link) {
                    let failure =
                        Failure::certain(Reason::Unreachable).with_detail("the bridge's database refuses its name");
                    self.on_fate(command, Fate::Failed(failure)).await;
                }
                return;
            }
        };
        if self.networks.get(link.network()).is_some_and(|network| network.greeted) && self.policies.are_read() {
            return self.open_puppet(link, identity, name).await;
        }
        tracing::debug!(link.id = %link, "a puppet waits for what the server says of itself");
        let mut waiting = self.puppets.ungreeted.iter();
        if !waiting.any(|(other, ..)| other.network() == link.network()) {
            let (input, network) = (self.input.clone(), link.network().clone());
            tokio::spawn(async move {
                tokio::time::sleep(GREETING).await;
                let _ = input.send(Input::GreetingOverdue(network)).await;
            });
        }
        self.puppets.ungreeted.push((link, identity, name));
    }

    /// The network's limits are known, or won't be for now: puppets can be called something.
    pub(super) async fn on_greeting(&mut self, network: &NetworkId) {
        if let Some(network) = self.networks.get_mut(network) {
            network.greeted = true;
        }
        if self.policies.are_read() {
            self.open_waiting(network).await;
        }
    }

    /// Opens the puppets that have waited until they may come onto a network.
    pub(super) async fn open_waiting(&mut self, network: &NetworkId) {
        let waiting: Vec<_> = self.puppets.ungreeted.extract_if(.., |(link, ..)| link.network() == network).collect();
        for (link, identity, name) in waiting {
            self.open_puppet(link, identity, name).await;
        }
    }

    /// Opens a puppet's link and gives it what has waited.
    async fn open_puppet(&mut self, link: LinkId, identity: PuppetIdentity, name: Option<String>) {
        let (Some(puppet), Some(user)) = (self.puppets.links.get_mut(&link), link.user()) else { return };
        let Some(network) = self.networks.get(link.network()) else { return };
        let waiting = puppet.waiting.take().unwrap_or_default();
        puppet.username.clone_from(&identity.username);
        puppet.stored_nick.clone_from(&identity.nick);
        puppet.realname = translate::realname(user, name.as_deref(), network.namelen());
        let mapping = network.isupport.casemapping;
        let kept = self.puppets.nicks.entry(link.network().clone()).or_default();
        puppet.nicks = nicks(network, user, name.as_deref());
        // What is kept for others is the last that it tries, and the one that it had the first, so that a number stays, if
        // it would still be called so.
        puppet.nicks.sort_by_key(|nick| (!kept.is_free_for(user, nick, mapping), Some(nick) != identity.nick.as_ref()));
        let mut alternatives = puppet.nicks.clone();
        let nick = alternatives.remove(0);
        kept.keep(user, &nick, mapping);
        let sasl = network.config.puppets.accounts.get(user);
        let spec = LinkSpec {
            link: link.clone(),
            nick,
            alternatives,
            nick_end: network.config.puppets.nick.end().to_owned(),
            username: identity.username,
            realname: puppet.realname.clone(),
            sasl: sasl
                .map(|sasl| SaslPlain { account: sasl.account.clone(), password: Sealed::new(sasl.password.expose()) }),
            channels: Vec::new(),
        };
        self.pool.open(spec);
        for (command, action) in waiting {
            self.act(&link, command, action).await;
        }
        self.close_idle_puppet(&link, None);
    }

    /// Lets a link do something; what can't be taken fails at once.
    pub(super) async fn act(&mut self, link: &LinkId, command: CommandId, action: IrcAction) {
        self.join_now(link).await;
        self.hand(link, command, action).await;
    }

    /// Tells puppets of the channels that they are to be in since the last time: whoever joins several rooms at once joins
    /// their channels with one line (R45).
    pub(super) async fn join_all(&mut self) {
        for link in std::mem::take(&mut self.puppets.joining) {
            self.join_now(&link).await;
        }
    }

    async fn join_now(&mut self, link: &LinkId) {
        let Some(puppet) = self.puppets.links.get_mut(link) else { return };
        let channels = std::mem::take(&mut puppet.joining);
        if !channels.is_empty() {
            let command = self.delivery.command();
            self.hand(link, command, IrcAction::Join { channels }).await;
        }
    }

    async fn hand(&mut self, link: &LinkId, command: CommandId, action: IrcAction) {
        if let Some(waiting) = self.puppets.links.get_mut(link).and_then(|puppet| puppet.waiting.as_mut()) {
            let most = self.networks.get(link.network()).map_or(0, Network::queue);
            if waiting.len() < most as usize {
                waiting.push((command, action));
            } else {
                self.on_fate(command, Fate::Failed(Failure::certain(Reason::QueueFull))).await;
            }
            return;
        }
        let reason = match self.pool.send(link, command, action) {
            Ok(()) => return,
            Err(SendRefused::QueueFull) => Reason::QueueFull,
            Err(SendRefused::NotOpen) => Reason::LinkLost,
        };
        self.on_fate(command, Fate::Failed(Failure::certain(reason))).await;
    }

    /// Sees to it that a puppet is, or comes, into a channel.
    pub(super) fn want_channel(&mut self, link: &LinkId, folded: &Folded, channel: ChannelKey) {
        let Some(puppet) = self.puppets.links.get_mut(link) else { return };
        if puppet.wanted.insert(folded.clone(), channel.name.clone()).is_none() {
            puppet.joining.push(channel);
            self.puppets.joining.push(link.clone());
        }
    }

    /// Lets a puppet leave a channel, and the network when nothing keeps it there.
    pub(super) async fn leave_channel(&mut self, link: &LinkId, folded: &Folded, reason: Option<String>) {
        let Some(puppet) = self.puppets.links.get_mut(link) else { return };
        if let Some(channel) = puppet.wanted.remove(folded) {
            let command = self.delivery.command();
            self.act(link, command, IrcAction::Part { channel, reason: reason.clone() }).await;
        }
        self.close_idle_puppet(link, reason.as_deref());
    }

    /// Closes a puppet that is in no channel and talks with nobody.
    pub(super) fn close_idle_puppet(&mut self, link: &LinkId, reason: Option<&str>) {
        let (Some(puppet), Some(user)) = (self.puppets.links.get(link), link.user()) else { return };
        // One that isn't open yet has things to do first; then it is asked again.
        let idle =
            puppet.waiting.is_none() && puppet.wanted.is_empty() && !self.directory.has_query(link.network(), user);
        if idle && self.directory.channels_of(link.network(), user).is_empty() {
            self.pool.close(link, reason.unwrap_or("left"));
            self.puppets.remove(link);
        }
    }

    /// A puppet has a nick: it is kept for the next time, so that a number added to it stays. A nick that it was forced
    /// to have is not.
    pub(super) fn keep_nick(&mut self, link: &LinkId, nick: &str) {
        let (Some(puppet), Some(user)) = (self.puppets.links.get_mut(link), link.user()) else { return };
        if puppet.stored_nick.as_deref() == Some(nick) || !puppet.nicks.iter().any(|own| own == nick) {
            return;
        }
        puppet.stored_nick = Some(nick.to_owned());
        if let Some(network) = self.networks.get(link.network()) {
            self.puppets.keep(&network.id, user, nick, network.isupport.casemapping);
        }
        self.keeper.note(Fact::PuppetNick(link.network().clone(), user.to_owned(), nick.to_owned()));
    }
}

/// What a Matrix user may be called, in the order of preference.
fn nicks(network: &Network, user: &UserId, name: Option<&str>) -> Vec<String> {
    let (template, nicklen) = (&network.config.puppets.nick, network.nicklen());
    let wanted = template.nick(user, name, nicklen);
    let alternatives = template.alternatives(&wanted, user, nicklen);
    std::iter::once(wanted).chain(alternatives).collect()
}

#[cfg(test)]
mod tests;
