//! Talks with one: queries (a Matrix user and a nick) and control rooms (a Matrix user and the bridge).

use std::sync::Arc;

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use super::{
    delivery::Origin,
    directory::{Entering, Query, QueryRef, RoomKind},
    dispatch::Core,
    event::{Event, Member},
    ghosts::Ghost,
    keeper::Fact,
    outbox::{Destination, Job, Lane, Receipt},
    portal::Said,
};
use crate::{
    model::{Failure, IrcAction, LinkId, MatrixKey, NetworkId, Reason, TextKind},
    translate::{irc_to_matrix, matrix_to_irc},
};

/// What the bot says to whoever writes to it on Matrix.
const HELP: &str = "I am an IRC bridge. Here I tell you when something that you sent did not reach IRC and there is \
                    no better room to say so. To talk with somebody on IRC, start a chat with their user here. Say `help` \
                    for what else I can do.";
/// What it says in a room that it was invited to.
const HELLO: &str = "I am the bot of an IRC bridge. Who may set state in this room can have it bridged to a channel: \
                     `!plumb #channel`. `!irc help` says more.";

// Queries.
impl Core {
    /// A private message to one of our links.
    pub(super) async fn private_text(&mut self, link: &LinkId, said: Said) {
        let Some(user) = link.user().map(ToOwned::to_owned) else { return self.told_to_bot(link, said).await };
        let ghost = self.networks.get(link.network()).and_then(|network| network.ghost_of(&said.source));
        let Some(ghost) = ghost else { return self.journal.settle_irc(said.key) };
        let key: QueryRef = (ghost.network.clone(), user.clone(), ghost.folded.clone());
        let query = self.directory.queries.entry(key).or_insert_with(|| {
            let new = Destination::NewQuery { ghost: ghost.clone(), user };
            Query { lane: self.outbox.lane(new), nick: ghost.nick.clone(), room: None, entering: None, successor: None }
        });
        query.nick.clone_from(&ghost.nick);
        let text = irc_to_matrix::message(&said.target, said.kind, &said.text);
        let receipt = Receipt::new(said.key, 1);
        query.lane.push(Job::Text { ghost, content: text, at: said.at, receipt, outside: false });
    }

    /// A private message to the bot. Notices are never answered.
    async fn told_to_bot(&mut self, link: &LinkId, said: Said) {
        if said.kind != TextKind::Notice {
            Box::pin(self.on_told_by_irc(link.network(), &said.source, &said.text)).await;
        }
        self.journal.settle_irc(said.key);
    }

    /// A Matrix user invited a ghost.
    pub(super) async fn open_query(&mut self, ghost: &Arc<Ghost>, invitation: &Origin) {
        let (user, room) = (invitation.sender.clone(), invitation.room.clone());
        let key: QueryRef = (ghost.network.clone(), user.clone(), ghost.folded.clone());
        let lane = self.outbox.lane(Destination::InvitedQuery { room: room.clone(), ghost: ghost.clone(), user });
        let entering = Some(Entering { invitation: invitation.key, waiting: Vec::new() });
        let query = Query { lane, nick: ghost.nick.clone(), room: Some(room.clone()), entering, successor: None };
        if let Some(old) = self.directory.invite_query(key, &room, query) {
            self.give_up(old).await;
        }
    }

    /// A query's ghost was invited into its room again: it may not be there, and we missed it.
    pub(super) async fn return_to_query(&mut self, room: &RoomId, invitation: MatrixKey) {
        let Some(query) = self.directory.query_in(room) else { return };
        query.lane.invited();
        let before = query.entering.take();
        let (earlier, waiting) = before.map(|entering| (entering.invitation, entering.waiting)).unzip();
        query.entering = Some(Entering { invitation, waiting: waiting.unwrap_or_default() });
        if let Some(earlier) = earlier {
            self.journal.settle_matrix(earlier).await;
        }
    }

    /// Lets what is said in a query wait until its ghost is in and knows what was said before.
    pub(super) fn waits_for_ghost(&mut self, key: MatrixKey, event: &Event<'_>, json: &RawValue) -> bool {
        let query = self.directory.query_in(&event.room_id).filter(|_| event.state_key.is_none());
        let Some(entering) = query.and_then(|query| query.entering.as_mut()) else { return false };
        entering.waiting.push((key, json.to_owned()));
        true
    }

    /// A query's ghost is in: what it missed is said now, and then what came meanwhile.
    pub(super) async fn on_query_entered(&mut self, room: &RoomId, missed: Vec<(MatrixKey, Box<RawValue>)>) {
        if let Some(old) = self.directory.query_entered(room) {
            self.give_up(old).await;
        }
        let entering = self.directory.query_in(room).and_then(|query| query.entering.take());
        let (invitation, waiting) = entering.map(|entering| (entering.invitation, entering.waiting)).unzip();
        for (key, json) in missed.into_iter().chain(waiting.unwrap_or_default()) {
            self.on_matrix(key, &json).await;
        }
        if let Some(invitation) = invitation {
            self.journal.settle_matrix(invitation).await;
        }
    }

    /// A ghost was invited into a room that is something else: it turns that down.
    pub(super) fn turn_down(&mut self, ghost: &Arc<Ghost>, room: &RoomId) {
        let lane = match self.directory.kind(room) {
            RoomKind::Query(_) => self.directory.query_in(room).map(|query| &query.lane),
            RoomKind::Control(user) => self.directory.control(user),
            RoomKind::Guest(lane) => Some(lane),
            RoomKind::Portal(_) | RoomKind::Unknown => None,
        };
        if let Some(lane) = lane {
            lane.push(Job::TurnDown(ghost.clone()));
        }
    }

    /// A query that an IRC user began has its room, unless the Matrix user has opened another meanwhile: then what the
    /// former's lane had to say is said in its room, and its ghost leaves.
    pub(super) fn on_query_opened(&mut self, ghost: &Arc<Ghost>, user: OwnedUserId, room: &RoomId) {
        let key: QueryRef = (ghost.network.clone(), user, ghost.folded.clone());
        if !self.directory.place_query(&key, room) {
            self.keeper.note(Fact::QueryIsOver(room.to_owned()));
        }
    }

    /// A query could not be opened; one to which its ghost was invited has a `room`. An IRC user who began it is told.
    pub(super) async fn on_query_refused(&mut self, ghost: &Arc<Ghost>, user: &UserId, room: Option<&RoomId>) {
        let key: QueryRef = (ghost.network.clone(), user.to_owned(), ghost.folded.clone());
        if let Some(room) = room {
            return self.end_query(room).await;
        }
        // Unless it is in another room by now.
        if self.directory.queries.get(&key).is_some_and(|query| query.room.is_none())
            && let Some(query) = self.directory.remove_query(&key)
        {
            self.query_is_over(key.0, key.1, query).await;
        }
        let command = self.delivery.command();
        let say = IrcAction::Say {
            target: ghost.nick.clone(),
            kind: TextKind::Notice,
            lines: vec!["Your private message could not be brought to Matrix.".to_owned()],
            expires: self.clock.now() + 60_000,
            journal: None,
        };
        self.act(&LinkId::puppet(ghost.network.clone(), user.to_owned()), command, say).await;
    }

    /// Somebody came to or left a query's room. It is for two: when its owner leaves or a third comes, it is over.
    pub(super) async fn on_query_member(&mut self, key: &QueryRef, room: &RoomId, target: &UserId, member: &Member) {
        let over = match member.membership.as_str() {
            "leave" | "ban" => *target == key.1,
            "join" | "invite" => *target != key.1,
            _ => false,
        };
        if !over {
            return;
        }
        if *target != key.1
            && let Some(Query { lane, .. }) = self.directory.query_in(room)
        {
            let text = "This was a private chat with one person on IRC; with others here I leave it.".to_owned();
            lane.push(Job::Notice { text, txn: format!("fbq{room}") });
        }
        self.end_query(room).await;
    }

    /// The query in `room` is over.
    pub(super) async fn end_query(&mut self, room: &RoomId) {
        let RoomKind::Query((network, user, _)) = self.directory.kind(room) else { return };
        let (network, user) = (network.clone(), user.clone());
        if let Some(query) = self.directory.remove_query_in(room) {
            self.query_is_over(network, user, query).await;
        }
    }

    /// A query is over: its ghost leaves, and the next private message opens another room.
    async fn query_is_over(&mut self, network: NetworkId, user: OwnedUserId, query: Query) {
        let room = query.room.clone();
        self.give_up(query).await;
        if let Some(room) = room {
            self.keeper.note(Fact::QueryIsOver(room));
        }
        self.close_idle_puppet(&LinkId::puppet(network, user), None);
    }

    /// A query that is in the directory no more: its ghost leaves, and whoever still said something there is told.
    async fn give_up(&mut self, query: Query) {
        query.lane.close();
        let Some(Entering { invitation, waiting }) = query.entering else { return };
        for (key, json) in waiting {
            let Some(event) = Event::read(&json) else { continue };
            let origin = Origin::of(key, &event);
            self.told(&origin, &Failure::certain(Reason::NotBridged));
        }
        self.journal.settle_matrix(invitation).await;
    }
}

// Control rooms.
impl Core {
    /// The user's control room, made if there is none.
    pub(super) fn control_lane(&mut self, user: &UserId) -> Lane {
        if let Some(lane) = self.directory.control(user) {
            return lane.clone();
        }
        let lane = self.outbox.lane(Destination::NewControl(user.to_owned()));
        self.directory.put_control(user.to_owned(), None, lane.clone());
        lane
    }

    pub(super) fn on_control_opened(&mut self, user: OwnedUserId, room: OwnedRoomId) {
        if let Some(lane) = self.directory.control(&user).cloned() {
            self.directory.put_control(user, Some(room), lane);
        }
    }

    /// Somebody invited the bot to a room that is no portal: their control room.
    pub(super) fn accept_control(&mut self, event: &Event<'_>) {
        let (room, user) = (event.room_id.clone(), event.sender.clone());
        if let Some(before) = self.directory.control(&user) {
            before.close();
        }
        let lane = self.outbox.lane(Destination::Control(room.clone()));
        lane.push(Job::Notice { text: HELP.to_owned(), txn: format!("fbh{}", event.id) });
        self.directory.put_control(user.clone(), Some(room.clone()), lane);
        self.keeper.note(Fact::ControlRoom(user, room));
    }

    /// Somebody invited the bot to a room for more than two, to have it plumbed perhaps.
    pub(super) fn accept_guest(&mut self, event: &Event<'_>) {
        self.put_guest(event.room_id.clone());
        if let RoomKind::Guest(lane) = self.directory.kind(&event.room_id) {
            lane.push(Job::Notice { text: HELLO.to_owned(), txn: format!("fbh{}", event.id) });
        }
    }

    pub(super) fn forget_control(&mut self, user: &UserId, room: &RoomId) {
        if let Some(lane) = self.directory.control(user) {
            lane.close();
        }
        self.directory.remove_control(user);
        self.keeper.note(Fact::NoControlRoom(room.to_owned()));
    }

    /// Something said to the bot that is no command. Only what people say is answered: two bots that answer each other's
    /// notices never end.
    pub(super) async fn on_control_message(&mut self, event: &Event<'_>, origin: &Origin) {
        let said = matrix_to_irc::message(event.content, usize::MAX);
        if matches!(said, Ok(Some(text)) if text.kind != TextKind::Notice) {
            let lane = self.control_lane(&event.sender);
            lane.push(Job::Notice { text: HELP.to_owned(), txn: format!("fbh{}", event.id) });
        }
        self.journal.settle_matrix(origin.key).await;
    }
}
