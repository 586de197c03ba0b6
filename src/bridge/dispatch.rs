//! The dispatcher: one task that owns all of the bridge's state and decides what follows from each event.
//!
//! It never waits for IRC or the homeserver: links and lanes take what it hands them and answer with an [`Input`].
//! What it knows is in `directory`, `puppets`, `echo`, `delivery` and `networks`; what it does about a kind of event
//! is an `impl Core` in the file named after it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::{
    closing::Ending,
    consent::{
        Requests,
        room::{Check, RoomFacts},
    },
    delivery::{Delivery, Origin, Outcome},
    directory::{ChannelRef, Directory, RoomKind},
    echo::Echo,
    event::Event,
    ghosts::Ghost,
    keeper::Keeper,
    network::{BotState, Network},
    ours::Ours,
    outbox::{Job, Outbox},
    puppets::Puppets,
    unplaced::Unplaced,
};
use crate::{
    irc::pool::{
        ConnectionPool,
        protocol::{PoolEvent, PoolEventBody},
    },
    matrix::MatrixApi,
    model::{
        Clock, CommandId, Failure, Fate, IrcEvent, IrcKey, LinkId, LinkState, MatrixKey, NetworkId, Reason, TextTarget,
    },
    store::{Journal, Portal, PuppetIdentity, Store, StoreError, Vault},
    telemetry::metric,
    translate::irc_to_matrix,
};

/// Everything the dispatcher hears.
pub(crate) enum Input {
    /// Events from the homeserver, in the journal already.
    Matrix(Vec<(MatrixKey, Box<RawValue>)>),
    /// Events from IRC; what people said is in the journal already.
    Irc(Vec<PoolEvent>),
    /// What people said on IRC before the last stop, and that may not have reached the homeserver.
    IrcAgain(Vec<PoolEvent>),
    /// Messages that were on their way to IRC when the bridge stopped.
    Interrupted(Vec<(MatrixKey, Box<RawValue>)>),
    /// The database knows who a puppet is.
    Identity { link: LinkId, identity: Result<PuppetIdentity, StoreError>, name: Option<String> },
    /// The bot is in a room with portals, and these are its people.
    RoomReady { room: OwnedRoomId, members: Vec<(OwnedUserId, Option<String>)> },
    /// A query has its room.
    QueryOpened { ghost: Arc<Ghost>, user: OwnedUserId, room: OwnedRoomId },
    /// A query's ghost has come into the room to which it was invited; what was said there before, in the journal now.
    QueryEntered { room: OwnedRoomId, missed: Vec<(MatrixKey, Box<RawValue>)> },
    /// A query could not have a room; `room` is the one into which its ghost was invited, if it was.
    QueryRefused { ghost: Arc<Ghost>, user: OwnedUserId, room: Option<OwnedRoomId> },
    /// A control room was made.
    ControlOpened { user: OwnedUserId, room: OwnedRoomId },
    /// No control room could be made for this user.
    ControlRefused { user: OwnedUserId },
    /// A failure could not be told where it happened.
    Untold { sender: OwnedUserId, room: Option<OwnedRoomId>, text: String, events: Vec<(OwnedEventId, MatrixKey)> },
    /// A portal is stored (or has been) and begins.
    Portal(Portal),
    /// A room of the bot that it doesn't know, with its alias.
    Found { room: OwnedRoomId, alias: OwnedRoomAliasId },
    /// The room for an alias was made, or could not be.
    AliasDone { channel: ChannelRef, made: bool, portal: Option<Portal> },
    /// A room was looked at, for a command there.
    RoomChecked { check: Check, facts: Result<RoomFacts, String> },
    /// The request of this code has waited long enough.
    RequestExpires(String),
    /// That a channel's bridge ends is stored.
    PortalEnds(Ending),
    /// All of ours have left a room whose bridge has ended.
    RoomLeft(OwnedRoomId),
    /// Time to try a channel again that the bot was refused from.
    BotRetries(ChannelRef),
    /// The homeserver asks for an alias, and waits.
    Alias { alias: OwnedRoomAliasId, answer: oneshot::Sender<bool> },
    /// The homeserver asks for a user, and waits.
    User { user: OwnedUserId, answer: oneshot::Sender<Option<Arc<Ghost>>> },
    /// A third-party lookup.
    Lookup(super::lookups::Lookup),
    /// How the networks' bots are, for the health report.
    Bots(oneshot::Sender<BTreeMap<NetworkId, BotState>>),
    /// Rooms were looked for; whether all that there are to find are found.
    RoomsKnown { all: bool },
    /// A network has not told of itself for long enough.
    GreetingOverdue(NetworkId),
    /// The links are about to be closed, once this is answered.
    Stopping(oneshot::Sender<()>),
    /// Nothing more comes.
    End,
}

/// The dispatcher's state and its ways out.
pub(crate) struct Core {
    pub(super) ours: Arc<Ours>,
    pub(super) server: OwnedServerName,
    pub(super) networks: BTreeMap<NetworkId, Network>,
    pub(super) directory: Directory,
    pub(super) puppets: Puppets,
    pub(super) echo: Echo,
    pub(super) delivery: Delivery,
    /// Puppets that the database remembers, as they were: who comes back after a restart.
    pub(super) remembered: HashMap<NetworkId, HashMap<OwnedUserId, PuppetIdentity>>,
    /// Channels whose rooms are being made, and who waits for them.
    pub(super) opening: HashMap<ChannelRef, Vec<oneshot::Sender<bool>>>,
    pub(super) vault: Option<Vault>,
    /// Rooms that ask for channels.
    pub(super) requests: Requests,
    /// Channels whose operators don't want them to be bridged.
    pub(super) opted_out: HashSet<ChannelRef>,
    /// Portals that are over, and whose rooms ours are leaving.
    pub(super) closing: HashMap<OwnedRoomId, Portal>,
    /// What came for rooms that aren't known, while some are still being looked for.
    pub(super) unplaced: Option<Unplaced>,
    /// Whether the links are being closed because the bridge stops.
    pub(super) stopping: bool,
    pub(super) outbox: Arc<Outbox>,
    pub(super) pool: Arc<dyn ConnectionPool>,
    pub(super) store: Arc<dyn Store>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) journal: Journal,
    pub(super) matrix: Arc<dyn MatrixApi>,
    pub(super) clock: Arc<dyn Clock>,
    /// The way back in, for what is found out elsewhere.
    pub(super) input: mpsc::Sender<Input>,
}

impl Core {
    /// Handles inputs until there can be no more, or `inputs` is closed.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.recv().await {
            match input {
                Input::End => return,
                input => self.on_input(input).await,
            }
        }
    }

    async fn on_input(&mut self, input: Input) {
        match input {
            Input::Matrix(events) => {
                for (key, json) in events {
                    self.on_matrix(key, &json).await;
                }
            }
            Input::Irc(events) => {
                for event in events {
                    self.on_pool(event).await;
                }
            }
            Input::IrcAgain(events) => {
                for event in events {
                    self.on_irc_again(event).await;
                }
            }
            Input::Interrupted(events) => {
                for (key, json) in events {
                    self.on_interrupted(key, &json).await;
                }
            }
            Input::Identity { link, identity, name } => self.on_identity(link, identity, name).await,
            Input::RoomReady { room, members } => self.on_room_ready(&room, members).await,
            Input::QueryOpened { ghost, user, room } => self.on_query_opened(&ghost, user, &room),
            Input::QueryEntered { room, missed } => self.on_query_entered(&room, missed).await,
            Input::QueryRefused { ghost, user, room } => {
                self.on_query_refused(&ghost, &user, room.as_deref()).await;
            }
            Input::ControlRefused { user } => self.directory.remove_control(&user),
            Input::Untold { sender, room, text, events } => self.tell_elsewhere(sender, room.as_deref(), text, events),
            Input::ControlOpened { user, room } => self.on_control_opened(user, room),
            Input::Portal(portal) => self.begin_portal(portal).await,
            Input::Found { room, alias } => self.on_room_found(room, &alias).await,
            Input::RoomChecked { check, facts } => self.on_room_checked(check, facts).await,
            Input::RequestExpires(code) => self.on_request_expires(&code).await,
            Input::PortalEnds(ending) => self.on_portal_ends(ending).await,
            Input::RoomLeft(room) => self.on_room_left(&room),
            Input::AliasDone { channel, made, portal } => self.on_alias_done(&channel, made, portal).await,
            Input::BotRetries(channel) => self.join_with_bot(&channel).await,
            Input::GreetingOverdue(network) => self.on_greeting(&network).await,
            Input::Alias { alias, answer } => self.on_alias(&alias, answer),
            Input::User { user, answer } => {
                let _ = answer.send(self.ghost_by_id(&user));
            }
            Input::Lookup(lookup) => self.on_lookup(lookup),
            Input::Stopping(heard) => {
                self.stopping = true;
                let _ = heard.send(());
            }
            Input::RoomsKnown { all } => self.on_rooms_known(all).await,
            Input::End => {}
            Input::Bots(answer) => {
                let states = self.networks.iter().map(|(id, network)| (id.clone(), network.bot_state.clone()));
                let _ = answer.send(states.collect());
            }
        }
    }

    pub(super) async fn on_matrix(&mut self, key: MatrixKey, json: &RawValue) {
        let Some(event) = Event::read(json) else {
            tracing::warn!(?key, "the homeserver sent something that is no event; it is left out");
            return self.journal.settle_matrix(key).await;
        };
        if self.waits_for_room(key, &event, json) || self.waits_for_ghost(key, &event, json) {
            return;
        }
        let origin = Origin::of(key, &event);
        match (&*event.kind, event.state_key.as_deref()) {
            // What people see as something said. Reactions, answers in polls and the like need no telling.
            (
                "m.room.message" | "m.sticker" | "m.room.encrypted" | "m.poll.start" | "org.matrix.msc3381.poll.start",
                None,
            ) => self.on_message(&event, &origin).await,
            ("m.room.member", Some(_)) => self.on_member(&event, &origin).await,
            ("m.room.topic", Some("")) => self.on_matrix_topic(&event, &origin).await,
            _ => self.journal.settle_matrix(key).await,
        }
    }

    /// An event that may or may not have reached IRC before we were stopped: never sent again, its sender is told.
    async fn on_interrupted(&mut self, key: MatrixKey, json: &RawValue) {
        let Some(event) = Event::read(json) else { return self.journal.settle_matrix(key).await };
        self.told(&Origin::of(key, &event), &Failure::uncertain(Reason::Interrupted));
    }

    /// Tells the sender of an event that it failed, where they will see it, and settles it then.
    pub(super) fn told(&mut self, origin: &Origin, failure: &Failure) {
        self.tell(origin, failure, irc_to_matrix::failure_notice(origin.subject, failure));
    }

    /// As [`Self::told`], in these words.
    fn tell(&mut self, origin: &Origin, failure: &Failure, text: String) {
        tracing::info!(
            event.id = %origin.event, portal.room = %origin.room, reason = ?failure.reason, certain = failure.certain,
            "a Matrix event did not surely reach IRC; its sender is told"
        );
        metrics::counter!(
            metric::BRIDGE_MATRIX_MESSAGES,
            "outcome" => if failure.certain { "failed" } else { "uncertain" }
        )
        .increment(1);
        let here = match self.directory.kind(&origin.room) {
            RoomKind::Portal(room) => room.reaches(&origin.sender).then_some(&room.lane),
            RoomKind::Query(_) => self.directory.query_in(&origin.room).map(|query| &query.lane),
            RoomKind::Control(_) | RoomKind::Guest(_) | RoomKind::Unknown => None,
        };
        let sender = origin.sender.clone();
        let events = vec![(origin.event.clone(), origin.key)];
        match here {
            Some(lane) => lane.push(Job::Failure { sender, text, events }),
            None => self.tell_elsewhere(sender, Some(&origin.room), text, events),
        }
    }

    /// Tells of a failure in the sender's control room, as it can't be told in the `room` where it happened.
    fn tell_elsewhere(
        &mut self,
        sender: OwnedUserId,
        room: Option<&RoomId>,
        text: String,
        events: Vec<(OwnedEventId, MatrixKey)>,
    ) {
        let text = match room {
            Some(room) => format!("{text} (This is about {room}.)"),
            None => text,
        };
        self.control_lane(&sender).push(Job::Failure { sender, text, events });
    }

    /// What became of a command.
    pub(super) async fn on_fate(&mut self, command: CommandId, fate: Fate) {
        if self.delivery.is_topic(command) {
            self.directory.topic_decided(command, &fate);
        }
        if let Some(Outcome { origin, failed, arrived }) = self.delivery.decided(command, fate) {
            match failed.first() {
                None => {
                    metrics::counter!(metric::BRIDGE_MATRIX_MESSAGES, "outcome" => "delivered").increment(1);
                    self.journal.settle_matrix(origin.key).await;
                }
                // It was never sent, and the next run can.
                Some((_, failure)) if self.stopping && failure.certain => {}
                Some((_, failure)) => {
                    self.tell(&origin, failure, irc_to_matrix::outcome_notice(origin.subject, &failed, &arrived));
                }
            }
        }
        metrics::gauge!(metric::BRIDGE_UNDER_WAY).set(u32::try_from(self.delivery.len()).unwrap_or(u32::MAX));
    }

    async fn on_pool(&mut self, event: PoolEvent) {
        match event.body {
            PoolEventBody::Fate { command, fate } => self.on_fate(command, fate).await,
            PoolEventBody::State(state) => self.on_link_state(&event.link, state).await,
            PoolEventBody::Irc(IrcEvent::Text { source, target, kind, text, msgid, account: _ }) => {
                let said = super::portal::Said { source, target, kind, text, msgid, at: event.at, key: event.key };
                self.on_irc_text(&event.link, said).await;
            }
            PoolEventBody::Irc(irc) => self.on_irc(&event.link, event.key, irc).await,
        }
    }

    /// Something that was said before the last stop: who observed what then is not known any more.
    pub(super) async fn on_irc_again(&mut self, event: PoolEvent) {
        let channel = match &event.body {
            PoolEventBody::Irc(IrcEvent::Text { target: TextTarget::Channel { name, .. }, .. }) => {
                self.channel_ref(&event.link, name)
            }
            _ => None,
        };
        let event = match channel {
            Some(channel) => match self.waits_for_channel(&channel, event) {
                Some(event) => event,
                None => return,
            },
            None => event,
        };
        match event.body {
            PoolEventBody::Irc(IrcEvent::Text { source, target, kind, text, msgid, account: _ }) => {
                let said = super::portal::Said { source, target, kind, text, msgid, at: event.at, key: event.key };
                self.on_irc_text_again(&event.link, said).await;
            }
            _ => self.journal.settle_irc(event.key),
        }
    }

    async fn on_irc(&mut self, link: &LinkId, key: IrcKey, event: IrcEvent) {
        match event {
            IrcEvent::Joined { channel, source, account } => self.on_joined(link, &channel, source, account),
            IrcEvent::Parted { channel, source, reason } => self.on_parted(link, &channel, &source, reason.as_deref()),
            IrcEvent::Kicked { channel, source, nick, reason } => {
                self.on_kicked(link, &channel, &source, &nick, reason.as_deref());
            }
            IrcEvent::Quit { source, reason } => self.on_quit(link, &source, reason.as_deref()),
            IrcEvent::Renamed { source, nick } => self.on_renamed(link, &source, &nick),
            IrcEvent::Topic { channel, source, topic } => self.on_irc_topic(link, &channel, source.as_ref(), &topic),
            IrcEvent::Roster { channel, members } => self.on_roster(link, &channel, members),
            IrcEvent::Modes { channel, source: _, changes } => self.on_modes(link, &channel, changes),
            IrcEvent::Settings { channel, modes } => self.on_settings(link, &channel, modes),
            IrcEvent::List { channel, letter, masks } => self.on_list(link, &channel, letter, masks),
            IrcEvent::Accounts { channel, accounts } => self.on_accounts(link, &channel, accounts),
            IrcEvent::Account { source, account } => self.on_account(link, &source, account.as_deref()),
            IrcEvent::Rehosted { source, user, host } => self.on_rehosted(link, &source, &user, &host),
            IrcEvent::Recalls { channel, since } => self.on_recalls(link, &channel, since),
            // Text has its own way.
            IrcEvent::Text { .. } => {}
            IrcEvent::Invited { source, channel } => self.on_invited(link, &source, &channel).await,
            IrcEvent::Names { channel, members } => self.on_names(link, &channel, members).await,
            IrcEvent::Whois { nick, profile } => self.on_whois(link, &nick, profile.as_ref()).await,
            IrcEvent::OwnJoined { channel } => self.on_own_joined(link, &channel).await,
            IrcEvent::OwnParted { channel } => self.on_own_left(link, &channel).await,
            IrcEvent::OwnKicked { channel, source, reason } => {
                self.on_own_kicked(link, &channel, &source, reason.as_deref(), key).await;
            }
            IrcEvent::JoinRefused { channel, failure } => self.on_join_refused(link, &channel, &failure, key).await,
            IrcEvent::OwnMask { user, host } => self.echo.seen_as(link, user, host),
            IrcEvent::OwnNick { nick } => self.on_own_nick(link, &nick),
        }
    }

    async fn on_link_state(&mut self, link: &LinkId, state: LinkState) {
        match state {
            LinkState::Ready { nick, isupport } => {
                tracing::info!(link.id = %link, nick, "on the network");
                self.on_ready(link, isupport);
                self.on_own_nick(link, &nick);
                self.on_greeting(link.network()).await;
                if link.is_bot() {
                    self.requests_go_on(link.network()).await;
                }
            }
            LinkState::Connecting { server } => {
                tracing::debug!(link.id = %link, server, "connecting");
                self.on_link_lost(link, || format!("it is connecting to {server}")).await;
            }
            LinkState::Waiting { failure, .. } => {
                let why = failure.map_or_else(|| "it waits for its turn to connect".to_owned(), |f| f.to_string());
                tracing::info!(link.id = %link, why, "not on the network");
                self.on_link_lost(link, || why).await;
            }
            LinkState::Refused { failure } => {
                tracing::error!(link.id = %link, %failure, "the network refuses this link; nothing more is tried until it is opened again");
                self.on_link_lost(link, || failure.to_string()).await;
                // The bot would have been the first to hear it.
                self.on_greeting(link.network()).await;
            }
            LinkState::Closed => {
                self.puppets.closed(link);
                self.on_link_lost(link, || "it was closed".to_owned()).await;
            }
        }
    }

    /// A link is in no channel any more.
    async fn on_link_lost(&mut self, link: &LinkId, why: impl FnOnce() -> String) {
        self.echo.lost(link, self.clock.now());
        if link.is_bot()
            && let Some(network) = self.networks.get_mut(link.network())
        {
            network.bot_state = BotState::Off(why());
            self.requests.bot_lost(link.network());
        }
        // A puppet is only where it was told to be, so that what this costs doesn't grow with the network.
        let left: Vec<ChannelRef> = match self.puppets.links.get(link) {
            Some(puppet) => puppet.wanted.keys().map(|folded| (link.network().clone(), folded.clone())).collect(),
            None => self.directory.channels.keys().filter(|channel| channel.0 == *link.network()).cloned().collect(),
        };
        for channel in left {
            self.absent(link, &channel).await;
        }
    }
}
