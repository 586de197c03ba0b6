//! A link's events on their way to the bridge: never lost, in order, and a few of them kept while the bridge is busy.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::mpsc::{
    OwnedPermit, Sender,
    error::{SendError, TrySendError},
};

use crate::irc::pool::protocol::PoolEvent;

/// Events that may wait before the link stops listening. Enough for a puppet, which sees only its own affairs, to
/// go on answering its server's PINGs through minutes in which the bridge takes nothing.
const SLACK: usize = 64;

type Reservation = Pin<Box<dyn Future<Output = Result<OwnedPermit<PoolEvent>, SendError<()>>> + Send>>;

/// Where a link puts its events.
pub(super) struct Outbox {
    bridge: Sender<PoolEvent>,
    /// Empty, and without memory, as long as the bridge keeps up.
    waiting: VecDeque<PoolEvent>,
    /// Our place among the links that wait for the bridge.
    place: Option<Reservation>,
}

impl Outbox {
    pub(super) const fn new(bridge: Sender<PoolEvent>) -> Self {
        Self { bridge, waiting: VecDeque::new(), place: None }
    }

    /// Takes an event, always.
    pub(super) fn push(&mut self, event: PoolEvent) {
        if self.waiting.is_empty() {
            match self.bridge.try_send(event) {
                Err(TrySendError::Full(event)) => self.waiting.push_back(event),
                // Nobody listens any more: the bridge has stopped.
                Ok(()) | Err(TrySendError::Closed(_)) => {}
            }
        } else {
            self.waiting.push_back(event);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether so much waits that nothing more should be done that makes events.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= SLACK
    }

    /// Hands over what waits, as far as the bridge takes it. Whether it took anything.
    pub(super) fn post(&mut self, cx: &mut Context<'_>) -> bool {
        let mut posted = false;
        while !self.waiting.is_empty() {
            let bridge = &self.bridge;
            let place = self.place.get_or_insert_with(|| Box::pin(bridge.clone().reserve_owned()));
            match place.as_mut().poll(cx) {
                Poll::Pending => return posted,
                Poll::Ready(Ok(permit)) => {
                    self.waiting.pop_front().map(|event| permit.send(event));
                }
                Poll::Ready(Err(_)) => self.waiting.clear(),
            }
            self.place = None;
            posted = true;
            if self.waiting.is_empty() {
                self.waiting = VecDeque::new();
            }
        }
        posted
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        irc::pool::protocol::PoolEventBody,
        model::{Epoch, IrcKey, LinkId, LinkState},
    };

    fn event(seq: u64) -> PoolEvent {
        let link = LinkId::bot("test".parse().unwrap());
        PoolEvent { link, key: IrcKey { epoch: Epoch(1), seq }, at: 0, body: PoolEventBody::State(LinkState::Closed) }
    }

    fn take(bridge: &mut mpsc::Receiver<PoolEvent>) -> Option<u64> {
        bridge.recv().now_or_never().flatten().map(|event| event.key.seq)
    }

    #[tokio::test]
    async fn events_stay_in_order_whenever_the_bridge_takes_them() {
        let (sender, mut bridge) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        outbox.push(event(0));
        outbox.push(event(1));
        assert_eq!(take(&mut bridge), Some(0));
        // There is room now, but not for this one.
        outbox.push(event(2));
        assert_eq!(take(&mut bridge), None);
        assert!(outbox.post(&mut cx));
        assert_eq!(take(&mut bridge), Some(1));
        assert!(outbox.post(&mut cx) && outbox.is_empty());
        assert_eq!(take(&mut bridge), Some(2));
    }

    #[tokio::test]
    async fn nothing_is_kept_for_a_bridge_that_has_gone() {
        let (sender, bridge) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        (0..100).for_each(|seq| outbox.push(event(seq)));
        assert!(outbox.is_full());
        drop(bridge);
        outbox.post(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(outbox.is_empty());
    }
}
