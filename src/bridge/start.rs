//! Starting and stopping: what is loaded, what the last run left undone, and in which order.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    consent::Requests,
    delivery::Delivery,
    directory::{Directory, Query},
    dispatch::{Core, Input},
    echo::Echo,
    health::{Checks, Pings},
    intake::{MatrixIntake, from_pool},
    keeper::Keeper,
    lookups::Lookups,
    network::{Network, bot_username_base},
    ours::Ours,
    outbox::{Destination, Outbox, OutboxParts},
    puppets::Puppets,
    unplaced::Unplaced,
};
use crate::{
    config::{Config, Plumb},
    irc::pool::{
        ConnectionPool,
        protocol::{Cursors, PoolEvent, PoolEventBody},
    },
    matrix::{
        MatrixApi, MatrixError,
        appservice::{Health, Queries, TransactionSink},
    },
    model::{Clock, Epoch, NetworkId},
    store::{Journal, Portal, PortalKind, PuppetIdentity, Standing, Store, StoreError, Vault},
};

/// Batches that may wait for the dispatcher.
const INPUTS: usize = 256;
/// How long the homeserver may take for what is still to be said when the bridge stops.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long one attempt to find a plumb's room may take.
const FIND_ROOM: Duration = Duration::from_secs(30);

/// What the bridge is made of.
pub struct Parts {
    /// The operator's choices.
    pub config: Config,
    /// The database.
    pub store: Arc<dyn Store>,
    /// Its journal.
    pub journal: Journal,
    /// The homeserver, for what people wait for.
    pub matrix: Arc<dyn MatrixApi>,
    /// The homeserver, for joins and leaves, which must never be in the way of the former.
    pub noise: Arc<dyn MatrixApi>,
    /// The IRC connections.
    pub pool: Arc<dyn ConnectionPool>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way from the homeserver back to us.
    pub pings: Arc<Pings>,
    /// What seals the secrets that people entrust to the bridge, if it is to keep any.
    pub vault: Option<Vault>,
}

/// Why the bridge can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database can't be read.
    #[error("could not load what the bridge knows: {0}")]
    Store(#[from] StoreError),
    /// A certificate can't be read.
    #[error("network.{network}.tls_ca: {problem}")]
    Certificate {
        /// The network.
        network: NetworkId,
        /// What is wrong.
        problem: String,
    },
}

/// The running bridge.
pub struct Bridge {
    input: mpsc::Sender<Input>,
    outbox: Arc<Outbox>,
    pool: Arc<dyn ConnectionPool>,
    journal: Journal,
    store: Arc<dyn Store>,
    keeper: Arc<Keeper>,
    pings: Arc<Pings>,
    ours: Arc<Ours>,
    core: JoinHandle<()>,
    intake: JoinHandle<()>,
    /// All links are gone.
    quiet: CancellationToken,
    stop: CancellationToken,
}

impl Bridge {
    /// Loads what is known, takes up what the last run left, and begins to connect.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { config, store, journal, matrix, noise, pool, clock, pings, vault } = parts;
        let stop = CancellationToken::new();
        let (input, inputs) = mpsc::channel(INPUTS);
        let ours = Arc::new(Ours::of(&config));
        let (mut networks, mut pems) = (BTreeMap::new(), HashMap::new());
        for (id, settings) in &config.networks {
            let server = config.homeserver.server_name.clone();
            let isupport = store.isupport(id).await?;
            // From where the puppets' come, so that none of them has the same.
            let username = store.puppet_identity(id, &ours.bot, &bot_username_base(&settings.bot.nick)).await?.username;
            let network = Network::new(id.clone(), settings.clone(), server, isupport, username);
            let pem = settings.tls_ca_pem();
            let pem = pem.map_err(|problem| StartError::Certificate { network: id.clone(), problem })?;
            pems.extend(pem.map(|pem| (id.clone(), pem)));
            networks.insert(id.clone(), network);
        }
        let keeper = Keeper::start(store.clone(), stop.clone());
        let outbox = Outbox::new(OutboxParts {
            ours: ours.clone(),
            matrix: matrix.clone(),
            noise,
            store: store.clone(),
            keeper: keeper.clone(),
            journal: journal.clone(),
            core: input.clone(),
            stop: stop.clone(),
        });
        let mut remembered: HashMap<NetworkId, HashMap<OwnedUserId, PuppetIdentity>> = HashMap::new();
        let mut puppets = Puppets::default();
        for puppet in store.puppets().await? {
            if let (Some(nick), Some(network)) = (&puppet.nick, networks.get(&puppet.network)) {
                puppets.keep(&puppet.network, &puppet.user, nick, network.isupport.casemapping);
            }
            remembered.entry(puppet.network.clone()).or_default().insert(puppet.user.clone(), puppet);
        }
        let first_epoch = Epoch(u64::from(store.next_boot(clock.now()).await?) << 32);
        let stored = store.portals().await?;
        let over = |network: &NetworkId, plumb: &Plumb| is_over(&stored, &networks, network, plumb);
        let (rooms, aliases) = plumbs(&config, over);
        let opted_out = store.opt_outs().await?.into_iter().map(|out| (out.network, out.folded)).collect();
        let mut core = Core {
            server: config.homeserver.server_name.clone(),
            ours: ours.clone(),
            networks,
            directory: Directory::default(),
            puppets,
            echo: Echo::default(),
            delivery: Delivery::default(),
            remembered,
            opening: HashMap::new(),
            vault,
            requests: Requests::default(),
            opted_out,
            closing: HashMap::new(),
            unplaced: Some(Unplaced::default()),
            stopping: false,
            outbox: outbox.clone(),
            pool: pool.clone(),
            store: store.clone(),
            keeper: keeper.clone(),
            journal: journal.clone(),
            matrix,
            clock,
            input: input.clone(),
        };
        let events = pool.attach(Cursors { links: Vec::new(), first_epoch });
        // Open before any room can ask the bot into a channel. What the links tell waits until the last run's work is taken up.
        for network in core.networks.values() {
            pool.configure(network.spec(pems.remove(&network.id)));
            pool.open(network.bot_spec());
        }
        load(&mut core, rooms, stored).await?;
        let known = core.directory.known_rooms();
        let core = tokio::spawn(core.run(inputs));
        recover(&journal, &input).await?;
        tokio::spawn(find_rooms(outbox.clone(), input.clone(), aliases, known, stop.clone()));
        let quiet = CancellationToken::new();
        let intake = tokio::spawn(from_pool(events, journal.clone(), input.clone(), quiet.clone()));
        Ok(Self { input, outbox, pool, journal, store, keeper, pings, ours, core, intake, quiet, stop })
    }

    /// Where the homeserver's transactions go.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn TransactionSink> {
        let input = Arc::new(Mutex::new(self.input.clone()));
        Arc::new(MatrixIntake { ours: self.ours.clone(), journal: self.journal.clone(), input })
    }

    /// Who answers the homeserver's questions.
    #[must_use]
    pub fn queries(&self) -> Arc<dyn Queries> {
        Arc::new(Lookups { input: self.input.clone(), outbox: self.outbox.clone() })
    }

    /// Who knows how the bridge is.
    #[must_use]
    pub fn health(&self) -> Arc<dyn Health> {
        Arc::new(Checks {
            pings: self.pings.clone(),
            store: self.store.clone(),
            outage: self.journal.outage(),
            input: self.input.clone(),
        })
    }

    /// Waits until a part of the bridge has ended by itself, which only a fault can cause.
    pub async fn broken(&mut self) {
        tokio::select! {
            _ = &mut self.core => {}
            _ = &mut self.intake => {}
        }
    }

    /// Says goodbye on IRC, says what is still to be said on Matrix, and puts everything on disk. What can't be done
    /// in time is done by the next run.
    pub async fn stop(self, reason: &str) {
        // What links refuse from here on waits for the next run: nobody is to be told that it failed.
        let (heard, answer) = oneshot::channel();
        let _ = self.input.send(Input::Stopping(heard)).await;
        let _ = answer.await;
        self.pool.shutdown(reason).await;
        // Once all that the links left is handled, the dispatcher ends too.
        self.quiet.cancel();
        let _ = self.intake.await;
        let _ = self.input.send(Input::End).await;
        let _ = self.core.await;
        if tokio::time::timeout(LAST_WORDS, self.outbox.empty()).await.is_err() {
            tracing::warn!(
                "the homeserver did not take everything in time; the rest stays in the journal for the next run"
            );
        }
        self.stop.cancel();
        self.outbox.ended().await;
        self.keeper.flush().await;
        if self.journal.flush().await.is_err() {
            tracing::error!("the journal's writer has ended before its time");
        }
    }
}

/// Whether a plumb of the configuration was ended since by its room or its channel, or has another room by now.
fn is_over(stored: &[Portal], networks: &BTreeMap<NetworkId, Network>, network: &NetworkId, plumb: &Plumb) -> bool {
    let Some(network) = networks.get(network) else { return false };
    let folded = network.fold(&plumb.channel);
    let same = |portal: &&Portal| portal.network == network.id && network.fold(&portal.channel) == folded;
    let stored = stored.iter().filter(same);
    let agreed = stored.clone().any(|portal| portal.kind == PortalKind::Agreed && portal.standing == Standing::Open);
    let over = stored.clone().any(|portal| portal.standing != Standing::Open);
    if over && !agreed {
        tracing::warn!(
            network = %network.id, portal.channel = plumb.channel,
            "a plumb of the configuration was ended by its room or by the channel's operators, and stays so; take it out of the \
             configuration. `!plumb` in a room asks the operators anew"
        );
    }
    over || agreed
}

/// The configured plumbs: those by room id, ready; those by alias, to be found.
fn plumbs(config: &Config, is_over: impl Fn(&NetworkId, &Plumb) -> bool) -> (Vec<Portal>, Vec<(NetworkId, Plumb)>) {
    let (mut rooms, mut aliases) = (Vec::new(), Vec::new());
    for (id, network) in &config.networks {
        for plumb in network.plumbs.iter().filter(|plumb| !is_over(id, plumb)) {
            match <&RoomId>::try_from(plumb.room.as_str()) {
                Ok(room) => rooms.push(portal(id, plumb, room)),
                Err(_) => aliases.push((id.clone(), plumb.clone())),
            }
        }
    }
    (rooms, aliases)
}

fn portal(network: &NetworkId, plumb: &Plumb, room: &RoomId) -> Portal {
    Portal {
        room: room.to_owned(),
        network: network.clone(),
        channel: plumb.channel.clone(),
        // The dispatcher folds it as the network says.
        folded: crate::model::CaseMapping::default().fold(&plumb.channel),
        key: plumb.key.as_ref().map(|key| key.expose().to_owned()),
        kind: PortalKind::Plumbed,
        standing: Standing::Open,
        consent: None,
    }
}

/// Makes known what the database and the configuration know.
async fn load(core: &mut Core, plumbed: Vec<Portal>, stored: Vec<Portal>) -> Result<(), StoreError> {
    for portal in plumbed.into_iter().chain(stored) {
        match portal.standing {
            // The configuration's keys are its own.
            Standing::Open if portal.kind == PortalKind::Plumbed => core.add_portal(portal),
            Standing::Open => {
                let portal = core.unsealed(portal);
                core.add_portal(portal);
            }
            Standing::Closing => core.go_on_closing(portal),
            Standing::Over => {}
        }
    }
    for query in core.store.queries().await? {
        let Some(network) = core.networks.get(&query.network) else { continue };
        let Some(ghost) = network.ghost(&query.nick) else { continue };
        let key = (query.network, query.user.clone(), ghost.folded.clone());
        let (network, user) = (key.0.clone(), key.1.clone());
        let destination = Destination::Query { room: query.room.clone(), ghost, user: user.clone() };
        let lane = core.outbox.lane(destination);
        let query = Query { lane, nick: query.nick, room: Some(query.room), entering: None, successor: None };
        core.directory.put_query(key, query);
        // Whoever talks with somebody is to be reached by them.
        if let Err(failure) = core.puppet(&network, &user) {
            tracing::warn!(%user, %network, %failure, "a puppet can't come back");
        }
    }
    for (user, room) in core.store.control_rooms().await? {
        let lane = core.outbox.lane(Destination::Control(room.clone()));
        core.directory.put_control(user, Some(room), lane);
    }
    Ok(())
}

/// Gives the dispatcher what the last run accepted and did not settle.
async fn recover(journal: &Journal, input: &mpsc::Sender<Input>) -> Result<(), StoreError> {
    let matrix = journal.unsettled_matrix().await?;
    let irc = journal.unsettled_irc().await?;
    if !matrix.is_empty() || !irc.is_empty() {
        tracing::info!(matrix = matrix.len(), irc = irc.len(), "taking up what the last run left undone");
    }
    let (interrupted, waiting): (Vec<_>, Vec<_>) = matrix.into_iter().partition(|event| event.sending);
    let plain = |events: Vec<crate::store::UnsettledMatrix>| events.into_iter().map(|e| (e.key, e.json)).collect();
    let irc = irc.into_iter().map(|line| PoolEvent {
        link: line.link,
        key: line.key,
        at: line.at,
        body: PoolEventBody::Irc(line.event),
    });
    // The dispatcher lives as long as this sender.
    let _ = input.send(Input::IrcAgain(irc.collect())).await;
    let _ = input.send(Input::Interrupted(plain(interrupted))).await;
    let _ = input.send(Input::Matrix(plain(waiting))).await;
    Ok(())
}

/// Finds the rooms that nobody told us of: those of plumbs that name an alias, for as long as it takes, and rooms that
/// we made for an alias and didn't keep, because we were stopped in between or the database was lost.
async fn find_rooms(
    outbox: Arc<Outbox>,
    input: mpsc::Sender<Input>,
    mut aliases: Vec<(NetworkId, Plumb)>,
    known: HashSet<OwnedRoomId>,
    stop: CancellationToken,
) {
    let (mut complained, mut looked) = (false, false);
    loop {
        let found = aliases.into_iter().map(|(network, plumb)| find_room(&outbox, &input, network, plumb, complained));
        let missing: Vec<_> = join_all(found).await.into_iter().flatten().collect();
        complained = true;
        looked = looked || find_ours(&outbox, &input, &known).await;
        let all = missing.is_empty() && looked;
        let _ = input.send(Input::RoomsKnown { all }).await;
        if all {
            return;
        }
        aliases = missing;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_mins(1)) => {}
        }
    }
}

/// Finds rooms of the bot that aren't `known` and that have an alias; whether it could look.
async fn find_ours(outbox: &Outbox, input: &mpsc::Sender<Input>, known: &HashSet<OwnedRoomId>) -> bool {
    let look = async {
        outbox.bot_exists().await?;
        let rooms = outbox.persist(|| outbox.matrix.joined_rooms(None)).await?;
        for room in rooms.into_iter().filter(|room| !known.contains(room)) {
            // Not what the room calls itself, which may be anything: what leads there.
            for alias in outbox.persist(|| outbox.matrix.local_aliases(&room, None)).await? {
                let _ = input.send(Input::Found { room: room.clone(), alias }).await;
            }
        }
        Ok::<_, MatrixError>(())
    };
    match tokio::time::timeout(FIND_ROOM, look).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "could not look for rooms that the last run made and didn't keep");
            true
        }
        Err(_) => false,
    }
}

/// Finds one plumb's room and begins its portal; gives the plumb back if that can't be done now.
async fn find_room(
    outbox: &Outbox,
    input: &mpsc::Sender<Input>,
    network: NetworkId,
    plumb: Plumb,
    complained: bool,
) -> Option<(NetworkId, Plumb)> {
    let joined = async {
        outbox.bot_exists().await?;
        outbox.persist(|| outbox.matrix.join(&plumb.room, None)).await
    };
    let problem = match tokio::time::timeout(FIND_ROOM, joined).await {
        Ok(Ok(room)) => {
            let _ = input.send(Input::Portal(portal(&network, &plumb, &room))).await;
            return None;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the homeserver does not answer".to_owned(),
    };
    if !complained {
        tracing::error!(
            portal.room = %plumb.room, portal.channel = plumb.channel, problem,
            "the bridge's bot can't enter a plumbed room; create it, or invite the bot; trying again every minute"
        );
    }
    Some((network, plumb))
}
