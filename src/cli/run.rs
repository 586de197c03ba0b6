//! `footbridge run`: the bridge itself.

use std::path::Path;

use tracing::{info, warn};

use super::{Exit, block_on, load};
use crate::app;

pub(super) fn run(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    raise_file_limit();
    info!(config.path = %path.display(), version = env!("CARGO_PKG_VERSION"), "Footbridge starts");
    match block_on(app::run(config)) {
        Ok(Ok(())) => Exit::Ok,
        Ok(Err(error)) => {
            // The log is where whoever runs a daemon looks.
            tracing::error!("{error:#}");
            Exit::Failure
        }
        Err(exit) => exit,
    }
}

/// Every puppet is a socket, and the usual limit of 1,024 open files would end the bridge's growth.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < 4096 => {
            warn!(
                limit,
                "this process may open few files, so few users can connect: raise the hard limit (LimitNOFILE=)"
            );
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}
