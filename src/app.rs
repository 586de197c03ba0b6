//! The composition root.
#![expect(clippy::unused_async, reason = "these are places for what will wait")]

use crate::{
    config::{Config, Network, ServerAddress},
    matrix::registration::Registration,
    model::NetworkId,
};

/// Runs the bridge until it is told to stop.
pub async fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the bridge isn't put together yet")
}

/// Opens the database as `run` would, and says what was found. Like the checks below, it answers with one sentence:
/// what is well, or what is wrong and what to do.
pub async fn check_database(_config: &Config) -> anyhow::Result<String> {
    anyhow::bail!("this can't be checked yet")
}

/// Asks the homeserver who we are, and to reach us.
pub async fn check_homeserver(_config: &Config, _registration: &Registration) -> anyhow::Result<String> {
    anyhow::bail!("this can't be checked yet")
}

/// Connects to one server as a link would, TLS included, and goes away again.
pub async fn check_server(_id: &NetworkId, _network: &Network, _server: &ServerAddress) -> anyhow::Result<String> {
    anyhow::bail!("this can't be checked yet")
}
