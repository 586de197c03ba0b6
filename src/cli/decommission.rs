//! `footbridge decommission`: everybody of the bridge's leaves every room, for good.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, block_on, complain, load};
use crate::app;

/// What `decommission` is told.
#[derive(Args)]
pub(super) struct Decommission {
    #[command(flatten)]
    config: super::ConfigFile,
    /// Do it; without this, only say what there is to do
    #[arg(long)]
    yes: bool,
}

impl Decommission {
    pub(super) fn run(self) -> Exit {
        let path: PathBuf = self.config.config;
        let config = match load(&path) {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        match block_on(app::decommission(config, self.yes, &|line| println!("{line}"))) {
            Ok(Ok(())) => Exit::Ok,
            Ok(Err(error)) => {
                complain(&format_args!("{error:#}"));
                Exit::Failure
            }
            Err(exit) => exit,
        }
    }
}
