//! What IRC's lists and modes mean for Matrix users: who is barred from a channel is banned from its rooms, who can't be
//! heard there is shown as muted in them, and both end with their cause.
//!
//! Each change of a channel has its judgement: all puppets there, or the one that it is about. What was done is
//! remembered, so that only that is undone, whenever the cause goes: perhaps while we are away.

use std::collections::{BTreeMap, HashMap, HashSet};

use ruma::{OwnedRoomId, OwnedUserId, UserId};

use super::{
    delivery::Origin,
    directory::{Channel, ChannelRef},
    dispatch::Core,
    event::Event,
    keeper::Fact,
    network::Network,
    outbox::{Cause, Job, Mutes},
    people::Person,
};
use crate::{
    model::{Failure, Folded, IrcAction, IrcKey, LinkId, ModeChange, ModeKind, Reason, Source},
    store::{Sanction, SanctionKind},
    translate::masks::{Act, Persona, effect, exactly, exempts, is_everybody, muting_mode},
};

/// Why somebody can't be heard who isn't let into the channel: until they come in.
pub(super) const NOT_LET_IN: &str = "join refused";

/// So many of those who are muted are called by name.
const NAMED: usize = 5;

/// What a channel does to somebody.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Clear,
    /// By this mode, or entry of a list.
    Muted(String),
    /// By this entry of the list of bans.
    Barred(String),
}

impl Core {
    /// Something that decides who may come and speak has changed in a channel; `by` whom, if it is known. With `only`, it
    /// has changed for that one puppet alone.
    pub(super) fn judge(&mut self, key: &ChannelRef, only: Option<&LinkId>, by: Option<&Source>, at: IrcKey) {
        let (Some(network), Some(channel)) = (self.networks.get(&key.0), self.directory.channels.get(key)) else {
            return;
        };
        // Whoever has come in was let in, whatever else there is to know.
        if !channel.modes.is_known() && only.is_none() {
            return;
        }
        let before = &channel.silenced;
        let (mut silenced, mut barred, mut seen) = (BTreeMap::new(), Vec::new(), HashSet::new());
        for person in channel.roster.iter().map(|(_, person)| person) {
            let Some(link) = &person.ours else { continue };
            let Some(user) = link.user().filter(|_| only.is_none_or(|only| only == link)) else { continue };
            seen.insert(user);
            let before = before.get(user).filter(|mode| *mode != NOT_LET_IN);
            if !channel.modes.is_known() {
                silenced.extend(before.map(|mode| (user.to_owned(), mode.clone())));
                continue;
            }
            match self.verdict(network, channel, person, link) {
                Verdict::Clear => {}
                Verdict::Muted(mode) => drop(silenced.insert(user.to_owned(), mode)),
                Verdict::Barred(mask) => barred.push((user.to_owned(), mask)),
            }
        }
        spare_everybody(&mut barred, seen.len(), before, &mut silenced);
        // Who isn't on IRC just now could be heard there no more than before, as long as the cause is there.
        for (user, mode) in before.iter().filter(|(user, _)| !seen.contains(&***user)) {
            if only.is_some() || mode == NOT_LET_IN || channel.modes.is_still(mode) {
                silenced.insert(user.clone(), mode.clone());
            }
        }
        if silenced != *before {
            let words = notices(channel, before, &silenced, only.is_none(), by);
            for (n, text) in words.into_iter().enumerate() {
                for lane in self.lanes(key) {
                    lane.push(Job::Notice { text: text.clone(), txn: format!("fbs{at}.{n}") });
                }
            }
            if let Some(channel) = self.directory.channels.get_mut(key) {
                channel.silenced = silenced;
            }
            self.show_muted(key);
        }
        if !self.directory.channels.get(key).is_some_and(|channel| channel.modes.is_known()) {
            return;
        }
        self.lift_bans(key);
        for (user, mask) in barred {
            self.ban(key, &user, &mask, by);
        }
    }

    /// A channel doesn't let a Matrix user in for a reason that is about them: they are muted until it does.
    pub(super) fn not_let_in(&mut self, key: &ChannelRef, user: &UserId, failure: &Failure) {
        use Reason::{BadKey, Banned, InviteOnly, NeedsAccount, NeedsTls};
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        if matches!(failure.reason, BadKey | Banned | InviteOnly | NeedsAccount | NeedsTls)
            && channel.silenced.insert(user.to_owned(), NOT_LET_IN.to_owned()).is_none()
        {
            self.show_muted(key);
        }
    }

    /// Who isn't let into a channel may be now: they try again.
    pub(super) fn try_again(&mut self, key: &ChannelRef) {
        let Some(channel) = self.directory.channels.get(key) else { return };
        let waiting = channel.silenced.iter().filter(|(_, mode)| *mode == NOT_LET_IN);
        let waiting: Vec<OwnedUserId> = waiting.map(|(user, _)| user.clone()).collect();
        let here = self.directory.channels_members(key);
        for user in waiting.into_iter().filter(|user| here.contains(user)) {
            let puppet = self.puppets.links.get_mut(&LinkId::puppet(key.0.clone(), user.clone()));
            if let Some(puppet) = puppet.filter(|puppet| puppet.wanted.contains_key(&key.1)) {
                puppet.again.insert(key.1.clone());
                continue;
            }
            if let Err(failure) = self.enter_channel(key, &user) {
                tracing::warn!(%user, network = %key.0, %failure, "a puppet can't try again to come in");
            }
        }
    }

    fn verdict(&self, network: &Network, channel: &Channel, person: &Person, link: &LinkId) -> Verdict {
        // Whoever has a rank is heard, whatever the lists say.
        if !person.ranks.is_empty() {
            return Verdict::Clear;
        }
        let isupport = &network.isupport;
        let puppet = self.puppets.links.get(link);
        let channels: Vec<&str> =
            puppet.into_iter().flat_map(|puppet| puppet.wanted.values()).map(String::as_str).collect();
        let configured = link.user().and_then(|user| network.config.puppets.accounts.get(user));
        let persona = Persona {
            nick: &person.source.nick,
            user: person.source.user.as_deref(),
            host: person.source.host.as_deref(),
            account: person.account.as_deref().or_else(|| configured.map(|sasl| sasl.account.as_str())),
            realname: puppet.map_or("", |puppet| &puppet.realname),
            channels: &channels,
        };
        let mut muted = None;
        let lists = ['b', 'q'].into_iter().filter(|letter| isupport.chanmodes[0].contains(*letter));
        for (letter, mask) in lists.flat_map(|letter| channel.modes.list(letter).iter().map(move |mask| (letter, mask)))
        {
            let Some(act) = effect(isupport, letter, mask, &persona) else { continue };
            if channel.modes.list('e').iter().any(|mask| exempts(isupport, mask, act, &persona)) {
                continue;
            }
            if act == Act::Bar && !is_everybody(isupport, letter, mask) {
                return Verdict::Barred(mask.clone());
            }
            muted.get_or_insert_with(|| format!("+{letter} {mask}"));
        }
        let mode = || muting_mode(isupport, |mode| channel.modes.has(mode), persona.account.is_some());
        match muted.or_else(|| mode().map(|mode| format!("+{mode}"))) {
            Some(mode) => Verdict::Muted(mode),
            None => Verdict::Clear,
        }
    }

    /// Lets the rooms of a channel show who can't be heard there.
    pub(super) fn show_muted(&self, key: &ChannelRef) {
        let rooms = self.directory.channels.get(key).into_iter().flat_map(|channel| &channel.rooms);
        for room in rooms.filter_map(|room| self.directory.rooms.get(room)) {
            let mut mutes = Mutes::new();
            for channel in &room.channels {
                let Some(state) = self.directory.channels.get(channel) else { continue };
                for (user, mode) in &state.silenced {
                    let cause =
                        || Cause { network: channel.0.clone(), channel: state.name.clone(), mode: mode.clone() };
                    mutes.entry(user.clone()).or_insert_with(cause);
                }
            }
            room.lane.mute(mutes);
        }
    }

    /// Bans a Matrix user from the rooms of a channel for an entry of its list.
    fn ban(&mut self, key: &ChannelRef, user: &OwnedUserId, mask: &str, by: Option<&Source>) {
        let Some(channel) = self.directory.channels.get(key) else { return };
        let by = by.map(|by| format!(" by {}", by.nick)).unwrap_or_default();
        let reason = format!("banned from {} on IRC{by} ({mask})", channel.name);
        let rooms: Vec<OwnedRoomId> = channel.rooms.clone();
        let name = channel.name.clone();
        for room in rooms {
            let Some(state) = self.directory.rooms.get(&room).filter(|state| state.members.contains_key(user)) else {
                continue;
            };
            let sanction = Sanction {
                kind: SanctionKind::Ban,
                room,
                user: user.clone(),
                network: key.0.clone(),
                channel: name.clone(),
                cause: mask.to_owned(),
                detail: reason.clone(),
            };
            if !self
                .sanctions
                .iter()
                .any(|known| (known.kind, &known.room, &known.user) == (sanction.kind, &sanction.room, user))
            {
                state.lane.push(Job::Ban(sanction.clone()));
                self.sanctions.push(sanction);
            }
        }
    }

    /// Lets those come back whose ban is on the channel's list no more.
    fn lift_bans(&mut self, key: &ChannelRef) {
        let (Some(network), Some(channel)) = (self.networks.get(&key.0), self.directory.channels.get(key)) else {
            return;
        };
        let is_over = |sanction: &Sanction| {
            sanction.kind == SanctionKind::Ban
                && sanction.network == key.0
                && network.fold(&sanction.channel) == key.1
                && !channel.modes.is_still(&format!("+b {}", sanction.cause))
        };
        let over: Vec<Sanction> = self.sanctions.extract_if(.., |sanction| is_over(sanction)).collect();
        for sanction in over {
            if let Some(room) = self.directory.rooms.get(&sanction.room) {
                room.lane.push(Job::Unban(sanction));
            }
        }
    }

    /// How somebody is banned from a channel who was banned from its room, where that is wanted.
    pub(super) fn ban_on_irc(
        &mut self,
        key: &ChannelRef,
        nick: &Folded,
        ghost: &UserId,
        event: &Event<'_>,
        origin: &Origin,
    ) -> Option<IrcAction> {
        let network = self.networks.get(&key.0).filter(|network| network.config.portals.bans_to_irc)?;
        let channel = self.directory.channels.get(key)?;
        let person = channel.roster.get(nick);
        let persona = Persona {
            nick: person.map_or(nick.as_str(), |person| &person.source.nick),
            user: person.and_then(|person| person.source.user.as_deref()),
            host: person.and_then(|person| person.source.host.as_deref()),
            account: person.and_then(|person| person.account.as_deref()),
            realname: "",
            channels: &[],
        };
        let mask = exactly(&network.isupport, &persona)?;
        let sanction = Sanction {
            kind: SanctionKind::IrcBan,
            room: event.room_id.clone(),
            user: ghost.to_owned(),
            network: key.0.clone(),
            channel: channel.name.clone(),
            cause: mask.clone(),
            detail: String::new(),
        };
        if !self.sanctions.contains(&sanction) {
            self.keeper.note(Fact::Sanction(sanction.clone()));
            self.sanctions.push(sanction);
        }
        self.change_list(key, true, mask, event, origin)
    }

    /// Lifts what was banned on IRC because a ghost was banned from a room, if anything was.
    pub(super) async fn unban_on_irc(&mut self, ghost: &UserId, event: &Event<'_>, origin: &Origin) {
        let is_over = |known: &Sanction| {
            (known.kind, &*known.room, &*known.user) == (SanctionKind::IrcBan, &*event.room_id, ghost)
        };
        let over: Vec<Sanction> = self.sanctions.extract_if(.., |known| is_over(known)).collect();
        let mut actions = Vec::new();
        for sanction in over {
            let folded = self.networks.get(&sanction.network).map(|network| network.fold(&sanction.channel));
            if let Some(key) = folded.map(|folded| (sanction.network.clone(), folded)) {
                let lift = self.change_list(&key, false, sanction.cause.clone(), event, origin);
                actions.extend(lift.map(|lift| (key, lift)));
            }
            self.keeper.note(Fact::SanctionIsOver(sanction));
        }
        if actions.is_empty() {
            return self.journal.settle_matrix(origin.key).await;
        }
        self.act_for(origin, actions).await;
    }

    /// How an entry comes onto a channel's list of bans, or off it.
    fn change_list(
        &self,
        key: &ChannelRef,
        set: bool,
        mask: String,
        event: &Event<'_>,
        origin: &Origin,
    ) -> Option<IrcAction> {
        Some(IrcAction::Modes {
            channel: self.directory.channels.get(key)?.name.clone(),
            changes: vec![ModeChange { set, letter: 'b', kind: ModeKind::List, arg: Some(mask) }],
            expires: self.too_old_after(self.networks.get(&key.0)?, event),
            journal: Some(origin.key),
        })
    }

    /// A channel is bridged: what was done because of it before the last stop.
    pub(super) fn recall_mutes(&mut self, key: &ChannelRef) {
        let (Some(network), Some(channel)) = (self.networks.get(&key.0), self.directory.channels.get_mut(key)) else {
            return;
        };
        let is_mute = |sanction: &&Sanction| {
            sanction.kind == SanctionKind::Mute && sanction.network == key.0 && network.fold(&sanction.channel) == key.1
        };
        let mutes = self.sanctions.iter().filter(is_mute);
        channel.silenced = mutes.map(|sanction| (sanction.user.clone(), sanction.cause.clone())).collect();
    }
}

/// A ban that hits all of us is meant for the bridge, or for everybody: as on IRC, nobody is shown out, but nobody is heard.
/// Who is muted for that already stays so, however many are left.
fn spare_everybody(
    barred: &mut Vec<(OwnedUserId, String)>,
    all: usize,
    before: &BTreeMap<OwnedUserId, String>,
    silenced: &mut BTreeMap<OwnedUserId, String>,
) {
    let mut hit: HashMap<String, usize> = HashMap::new();
    for (_, mask) in barred.iter() {
        *hit.entry(mask.clone()).or_default() += 1;
    }
    for (user, mask) in std::mem::take(barred) {
        let mode = format!("+b {mask}");
        if before.values().any(|known| *known == mode) || all > 1 && hit.get(&mask) == Some(&all) {
            silenced.insert(user, mode);
        } else {
            barred.push((user, mask));
        }
    }
}

/// What the rooms are told when others can be heard than before. `all`: because of the channel, and not of one of them.
fn notices(
    channel: &Channel,
    before: &BTreeMap<OwnedUserId, String>,
    now: &BTreeMap<OwnedUserId, String>,
    all: bool,
    by: Option<&Source>,
) -> Vec<String> {
    let (name, by) = (&channel.name, by.map(|by| format!(" by {}", by.nick)).unwrap_or_default());
    let mut muted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (user, mode) in now.iter().filter(|(user, _)| !before.contains_key(*user)) {
        muted.entry(mode).or_default().push(user.as_str());
    }
    let mut words = Vec::new();
    for (mode, users) in muted {
        let is_new = !before.values().any(|known| known == mode);
        let many = users.len() > NAMED;
        words.push(match mode {
            NOT_LET_IN => continue,
            _ if mode.len() == 2 && !(all && is_new) => continue,
            "+m" => format!(
                "{name} is moderated on IRC now (+m{by}): only who has voice there is heard. Nobody else from Matrix can \
                 write here until that ends."
            ),
            _ if mode.len() == 2 => format!(
                "In {name} on IRC only who is logged in to an account is heard now ({mode}{by}). Nobody else from Matrix \
                 can write here until that ends."
            ),
            _ if many => format!(
                "Many from Matrix can't be heard in {name} on IRC now ({mode}{by}), and can't write here until that ends."
            ),
            _ => format!(
                "{} can't be heard in {name} on IRC now ({mode}{by}), and can't write here until that ends.",
                users.join(", ")
            ),
        });
    }
    let ended: HashSet<&String> =
        before.values().filter(|mode| mode.len() == 2 && !channel.modes.is_still(mode)).collect();
    let mut ended: Vec<_> =
        ended.into_iter().map(|mode| format!("{name} on IRC hears everybody again (-{}{by}).", &mode[1..])).collect();
    ended.sort_unstable();
    words.extend(ended);
    words
}
