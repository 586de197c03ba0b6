//! What the links of one network share: how to reach it, how often, and the counting of what goes on there.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::Notify;

use crate::{
    irc::{
        connect_budget::{ConnectBudget, Rank},
        flood::LineBudget,
        isupport::SharedIsupport,
        pool::protocol::NetworkSpec,
        transport::{Dialer, Stream},
    },
    model::{Failure, LinkState, Reason},
    telemetry::metric,
};

/// How long no link dials after one was told that they come too fast.
const THROTTLE: Duration = Duration::from_mins(1);

/// A [`LinkState`] without its details, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Connecting,
    Ready,
    Refused,
    Closed,
}

impl Stage {
    pub(super) const fn of(state: &LinkState) -> Self {
        match state {
            LinkState::Waiting { .. } => Self::Waiting,
            LinkState::Connecting { .. } => Self::Connecting,
            LinkState::Ready { .. } => Self::Ready,
            LinkState::Refused { .. } => Self::Refused,
            LinkState::Closed => Self::Closed,
        }
    }
}

/// One network, as its links see it.
pub(in crate::irc) struct Network {
    /// As configured.
    pub(in crate::irc) spec: Arc<NetworkSpec>,
    /// What its servers say of themselves, each text once.
    pub(in crate::irc) isupports: Arc<SharedIsupport>,
    /// Or why there is no way to dial.
    dialer: Result<Dialer, String>,
    connects: Arc<ConnectBudget>,
    received: Counter,
    sent: Counter,
    dropped: Counter,
    links: [Gauge; 4],
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("network", &self.spec.network).finish_non_exhaustive()
    }
}

impl Network {
    /// A network by its configuration; `before` is what it was until now, if it was.
    pub(in crate::irc) fn new(spec: NetworkSpec, before: Option<&Self>) -> Self {
        let connects_per_minute = spec.limits.connects_per_minute;
        let unchanged = before.filter(|old| old.spec.limits.connects_per_minute == connects_per_minute);
        let name = spec.network.to_string();
        let lines = |direction| counter!(metric::IRC_LINES, "network" => name.clone(), "direction" => direction);
        let gauge = |state| gauge!(metric::IRC_LINKS, "network" => name.clone(), "state" => state);
        Self {
            isupports: before.map(|old| Arc::clone(&old.isupports)).unwrap_or_default(),
            dialer: Dialer::new(&spec),
            // Links of before and of now dial the same network: they go on sharing what it grants.
            connects: unchanged
                .map_or_else(|| Arc::new(ConnectBudget::new(connects_per_minute)), |old| Arc::clone(&old.connects)),
            received: lines("in"),
            sent: lines("out"),
            dropped: counter!(metric::IRC_DROPPED_LINES, "network" => name.clone()),
            links: ["waiting", "connecting", "ready", "refused"].map(gauge),
            spec: Arc::new(spec),
        }
    }

    /// Dials `server` when it is the turn of a link of this `rank`, which `has_words` may raise.
    pub(super) async fn dial(&self, server: &str, rank: Rank, has_words: &Notify) -> Result<Stream, Failure> {
        match &self.dialer {
            Ok(dialer) => {
                self.connects.acquire(rank, has_words).await;
                dialer.dial(server).await
            }
            Err(problem) => Err(Failure::certain(Reason::Unreachable).with_detail(problem.clone())),
        }
    }

    /// One of the links was told that they come too fast.
    pub(super) fn throttled(&self) {
        self.connects.pause(THROTTLE);
    }

    /// How fast a link may speak.
    pub(super) fn line_budget(&self) -> LineBudget {
        LineBudget::new(self.spec.limits.line_burst, self.spec.limits.lines_per_second)
    }

    /// Counts lines that came, and those of them that were too long.
    pub(super) fn received(&self, lines: u64, dropped: u64) {
        self.received.increment(lines);
        self.dropped.increment(dropped);
    }

    /// Counts lines that went out.
    pub(super) fn sent(&self, lines: u64) {
        self.sent.increment(lines);
    }

    /// Counts a link that went from one stage to another.
    pub(super) fn count(&self, from: Option<Stage>, to: Option<Stage>) {
        if let Some(gauge) = from.and_then(|stage| self.gauge(stage)) {
            gauge.decrement(1);
        }
        if let Some(gauge) = to.and_then(|stage| self.gauge(stage)) {
            gauge.increment(1);
        }
    }

    fn gauge(&self, stage: Stage) -> Option<&Gauge> {
        match stage {
            Stage::Waiting => Some(&self.links[0]),
            Stage::Connecting => Some(&self.links[1]),
            Stage::Ready => Some(&self.links[2]),
            Stage::Refused => Some(&self.links[3]),
            Stage::Closed => None,
        }
    }
}
