//! The pool whose connections live in this process: a list of links, each a task of its own.
//!
//! The list knows no more of a link than its mailbox. A link leaves the list itself when it has said goodbye.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};
use tracing::{error, warn};

use super::{
    ConnectionPool, SendRefused, WriteAhead,
    protocol::{Cursors, LinkSpec, NetworkSpec, PoolEvent},
};
use crate::{
    irc::{
        link::{Common, Link, Mailbox, Network, NewSession, Opening, Registrar},
        session::Session,
    },
    model::{Clock, CommandId, IrcAction, LinkId, NetworkId},
};

/// Events that may wait for the bridge, of all links together.
const EVENTS: usize = 8192;
/// How long the links may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Connections kept in this process.
pub struct LocalPool {
    common: Arc<Common>,
    /// Taken by `attach`.
    events: Mutex<Option<mpsc::Receiver<PoolEvent>>>,
    networks: Mutex<HashMap<NetworkId, Arc<Network>>>,
    links: Arc<Links>,
    stopping: AtomicBool,
}

/// The list of links.
struct Links {
    entries: Mutex<HashMap<LinkId, Entry>>,
    count: watch::Sender<usize>,
}

struct Entry {
    mailbox: Arc<Mailbox>,
    task: AbortHandle,
}

impl LocalPool {
    /// A pool without links. `write_ahead` is asked before each line that begins a journalled command goes out.
    ///
    /// The other methods are to be called inside a tokio runtime, which then runs the links.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, write_ahead: Arc<dyn WriteAhead>) -> Arc<Self> {
        Self::with_sessions(clock, write_ahead, |spec, network| {
            let (isupports, seed) = (Arc::clone(&network.isupports), rand::random());
            Box::new(Session::new(spec, Arc::clone(&network.spec), isupports, seed))
        })
    }

    /// [`Self::new`] for links that speak something else than IRC.
    pub(in crate::irc) fn with_sessions(
        clock: Arc<dyn Clock>,
        write_ahead: Arc<dyn WriteAhead>,
        new_session: NewSession,
    ) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        Arc::new(Self {
            common: Arc::new(Common {
                clock,
                origin: Instant::now(),
                write_ahead,
                events: sender,
                epochs: AtomicU64::new(0),
                new_session,
            }),
            events: Mutex::new(Some(receiver)),
            networks: Mutex::default(),
            links: Arc::new(Links { entries: Mutex::default(), count: watch::Sender::new(0) }),
            stopping: AtomicBool::new(false),
        })
    }

    fn mailbox(&self, link: &LinkId) -> Option<Arc<Mailbox>> {
        self.links.lock().get(link).map(|entry| Arc::clone(&entry.mailbox))
    }
}

#[async_trait]
impl ConnectionPool for LocalPool {
    fn attach(&self, cursors: Cursors) -> mpsc::Receiver<PoolEvent> {
        // No link outlives this process, so there is nothing to go on from but the number of this start.
        self.common.epochs.store(cursors.first_epoch.0, Ordering::Relaxed);
        lock(&self.events).take().expect("the bridge attaches once")
    }

    fn configure(&self, network: NetworkSpec) {
        let mut networks = lock(&self.networks);
        let before = networks.get(&network.network).map(Arc::clone);
        networks.insert(network.network.clone(), Arc::new(Network::new(network, before.as_deref())));
    }

    fn open(&self, spec: LinkSpec) {
        let Some(network) = lock(&self.networks).get(spec.link.network()).map(Arc::clone) else {
            error!(link.id = %spec.link, "a link was opened on a network that nobody configured; this is a bug");
            return;
        };
        let mut entries = self.links.lock();
        if self.stopping.load(Ordering::Acquire) {
            warn!(link.id = %spec.link, "a link isn't opened: the bridge is stopping");
            return;
        }
        let opening = Opening { spec, network };
        if let Some(entry) = entries.get(&opening.spec.link) {
            entry.mailbox.open(opening);
            return;
        }
        let (id, mailbox) = (opening.spec.link.clone(), Arc::new(Mailbox::default()));
        let registrar: Arc<dyn Registrar> = Arc::clone(&self.links) as _;
        let link = Link::new(opening, Arc::clone(&self.common), registrar, Arc::clone(&mailbox));
        entries.insert(id, Entry { mailbox, task: tokio::spawn(link).abort_handle() });
        self.links.count.send_replace(entries.len());
    }

    fn close(&self, link: &LinkId, reason: &str) {
        if let Some(mailbox) = self.mailbox(link) {
            mailbox.close(reason);
        }
    }

    fn cut(&self, link: &LinkId, reason: &str) {
        if let Some(mailbox) = self.mailbox(link) {
            mailbox.stop(reason);
        }
    }

    fn send(&self, link: &LinkId, command: CommandId, action: IrcAction) -> Result<(), SendRefused> {
        self.mailbox(link).ok_or(SendRefused::NotOpen)?.send(command, action)
    }

    async fn shutdown(&self, reason: &str) {
        {
            let entries = self.links.lock();
            self.stopping.store(true, Ordering::Release);
            entries.values().for_each(|entry| entry.mailbox.stop(reason));
        }
        let mut count = self.links.count.subscribe();
        if timeout(GOODBYE, count.wait_for(|links| *links == 0)).await.is_ok() {
            return;
        }
        let late: Vec<AbortHandle> = self.links.lock().values().map(|entry| entry.task.clone()).collect();
        warn!(links = late.len(), "cutting connections that took too long to say goodbye");
        late.iter().for_each(AbortHandle::abort);
        // Nothing can hold them up now: an aborted task ends at its next chance.
        let _ = count.wait_for(|links| *links == 0).await;
    }
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<LinkId, Entry>> {
        lock(&self.entries)
    }

    fn remove(&self, mut entries: MutexGuard<'_, HashMap<LinkId, Entry>>, link: &LinkId, mailbox: &Arc<Mailbox>) {
        if entries.get(link).is_some_and(|entry| Arc::ptr_eq(&entry.mailbox, mailbox)) {
            entries.remove(link);
            self.count.send_replace(entries.len());
        }
    }
}

impl Registrar for Links {
    fn retire(&self, link: &LinkId, mailbox: &Arc<Mailbox>) -> bool {
        // Under the lock of the list: whoever opens the link now finds it either alive or gone.
        let entries = self.lock();
        if !mailbox.is_empty() {
            return false;
        }
        self.remove(entries, link, mailbox);
        true
    }

    fn bury(&self, link: &LinkId, mailbox: &Arc<Mailbox>) {
        self.remove(self.lock(), link, mailbox);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked under it left the list whole: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
