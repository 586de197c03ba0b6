//! What is looked after all the time: that who is in a room is who should be.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dispatch::{Core, Input};

/// How long those stay silent in a room who are only there to speak, before they leave it.
const SILENCE: Duration = Duration::from_mins(10);
/// How often it is looked whether there is something to do.
const TICK: Duration = Duration::from_secs(1);

/// Tells the dispatcher of each second.
pub(super) async fn tick(input: mpsc::Sender<Input>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        if input.send(Input::Tick).await.is_err() {
            return;
        }
    }
}

impl Core {
    /// A second has passed.
    pub(super) fn on_tick(&mut self) {
        self.let_go_of_lost();
        for room in self.directory.rooms.values() {
            room.lane.silent_for(SILENCE);
        }
    }
}
