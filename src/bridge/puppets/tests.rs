//! The dispatcher alone, with a pool that only writes down which links were opened.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use ruma::owned_user_id;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    bridge::{
        delivery::Delivery,
        directory::Directory,
        echo::Echo,
        keeper::Keeper,
        ours::Ours,
        outbox::{Outbox, OutboxParts},
        policies::Policies,
        reconciler::Reconciler,
    },
    config::Config,
    irc::pool::{
        ConnectionPool,
        protocol::{Cursors, NetworkSpec, PoolEvent},
    },
    matrix,
    model::SystemClock,
    store::{self, Journal, Limits},
};

#[derive(Default)]
struct Opened(Mutex<Vec<LinkSpec>>);

impl Opened {
    fn links(&self) -> Vec<LinkId> {
        self.0.lock().unwrap().iter().map(|spec| spec.link.clone()).collect()
    }
}

#[async_trait]
impl ConnectionPool for Opened {
    fn attach(&self, _: Cursors) -> mpsc::Receiver<PoolEvent> {
        mpsc::channel(1).1
    }

    fn configure(&self, _: NetworkSpec) {}

    fn open(&self, spec: LinkSpec) {
        self.0.lock().unwrap().push(spec);
    }

    fn close(&self, _: &LinkId, _: &str) {}

    fn cut(&self, _: &LinkId, _: &str) {}

    fn send(&self, _: &LinkId, _: CommandId, _: IrcAction) -> Result<(), SendRefused> {
        Ok(())
    }

    async fn shutdown(&self, _: &str) {}
}

/// A dispatcher of two networks that were never met, with what it is told, and the links that it opens.
async fn core(folder: &std::path::Path) -> (Core, mpsc::Receiver<Input>, Arc<Opened>) {
    let text = "[homeserver]\nurl = \"http://127.0.0.1:1\"\nserver_name = \"hs.test\"\n\
                [network.one]\nservers = [\"irc.one.test:6697\"]\n[network.two]\nservers = [\"irc.two.test:6697\"]\n";
    let config = Config::parse(text, folder, &|_| None).unwrap();
    let store = store::open(&format!("sqlite://{}", folder.join("test.db").display())).await.unwrap();
    let (journal, _) = Journal::start(store.clone(), Arc::new(SystemClock), Limits::default()).await.unwrap();
    let matrix = matrix::nobody();
    let (ours, stop) = (Arc::new(Ours::new(config.bot_user_id(), Vec::new())), CancellationToken::new());
    let keeper = Keeper::start(store.clone(), journal.clone(), stop.clone());
    let (input, inputs) = mpsc::channel(16);
    let parts = OutboxParts {
        ours: ours.clone(),
        matrix: matrix.clone(),
        noise: matrix.clone(),
        store: store.clone(),
        keeper: keeper.clone(),
        journal: journal.clone(),
        core: input.clone(),
        stop,
        memberships_per_second: 0,
    };
    let server = config.homeserver.server_name;
    let networks = config
        .networks
        .into_iter()
        .map(|(id, settings)| (id.clone(), Network::new(id, settings, server.clone(), None, "footbridge".to_owned())));
    let pool = Arc::new(Opened::default());
    let core = Core {
        networks: networks.collect::<BTreeMap<_, _>>(),
        server: server.clone(),
        ours,
        directory: Directory::default(),
        puppets: Puppets::default(),
        echo: Echo::default(),
        delivery: Delivery::default(),
        remembered: HashMap::new(),
        sanctions: Vec::new(),
        policies: Policies::new(false),
        opening: HashMap::new(),
        unplaced: None,
        reconciler: Reconciler::new(0),
        stopping: false,
        outbox: Outbox::new(parts),
        pool: pool.clone(),
        store,
        keeper,
        journal,
        matrix,
        clock: Arc::new(SystemClock),
        input,
    };
    (core, inputs, pool)
}

/// Lets a puppet want to be somewhere, until the database has said who it is.
async fn begin(core: &mut Core, inputs: &mut mpsc::Receiver<Input>, network: &str, user: &UserId) -> LinkId {
    let link = core.puppet(&network.parse().unwrap(), user).unwrap();
    core.want_channel(&link, &CaseMapping::default().fold("#tea"), ChannelKey { name: "#tea".into(), key: None });
    let identity = inputs.recv().await.unwrap();
    assert!(matches!(&identity, Input::Identity { link: whose, identity: Ok(_), .. } if *whose == link));
    core.on_input(identity).await;
    link
}

#[tokio::test]
async fn puppets_wait_thirty_seconds_for_a_network_that_tells_nothing_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, mut inputs, pool) = core(folder.path()).await;
    let (alice, bob) = (owned_user_id!("@alice:hs.test"), owned_user_id!("@bob:hs.test"));
    let first = begin(&mut core, &mut inputs, "one", &alice).await;
    let second = begin(&mut core, &mut inputs, "one", &bob).await;
    let elsewhere = begin(&mut core, &mut inputs, "two", &alice).await;
    assert_eq!(pool.links(), [], "nobody knows yet how long their nicks may be");

    // The one network tells of itself, and the other doesn't.
    tokio::time::pause();
    let since = Instant::now();
    core.on_greeting(elsewhere.network()).await;
    assert_eq!(pool.links(), [elsewhere]);
    for _ in 0..2 {
        let overdue = inputs.recv().await.unwrap();
        assert!(matches!(&overdue, Input::GreetingOverdue(_)));
        core.on_input(overdue).await;
    }
    assert_eq!(since.elapsed().as_secs(), GREETING.as_secs());
    assert_eq!(pool.links()[1..], [first, second]);

    // Whoever comes later isn't kept waiting for it again.
    tokio::time::resume();
    let third = begin(&mut core, &mut inputs, "one", &owned_user_id!("@carol:hs.test")).await;
    assert_eq!(pool.links()[3..], [third]);
}
