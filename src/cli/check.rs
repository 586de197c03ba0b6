//! `footbridge check`: is everything there that the bridge needs?
//!
//! A check is a name and a future that ends in a sentence: what is well, or what is wrong and what to do. Checks don't
//! depend on each other's success wherever that is possible, so that one run names every problem. To add one: a line
//! in [`checks`].

use std::path::Path;

use futures_util::future::{BoxFuture, FutureExt as _};

use super::{Exit, block_on, load};
use crate::{
    app,
    config::Config,
    matrix::registration::{Registration, RegistrationError},
};

/// What is checked, and how it went: the sentence, good or bad.
struct Check<'a> {
    name: String,
    outcome: BoxFuture<'a, anyhow::Result<String>>,
}

impl<'a> Check<'a> {
    fn new(name: impl Into<String>, outcome: impl Future<Output = anyhow::Result<String>> + Send + 'a) -> Self {
        Self { name: name.into(), outcome: outcome.boxed() }
    }
}

pub(super) fn run(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    print("ok", "configuration", &format!("{} is valid", path.display()));
    let registration = Registration::load(&config.appservice.registration);
    match block_on(go_through(checks(&config, &registration))) {
        Ok(0) => Exit::Ok,
        Ok(_) => Exit::Failure,
        Err(exit) => exit,
    }
}

/// Everything to be checked, in the order in which it should be mended.
fn checks<'a>(config: &'a Config, registration: &'a Result<Registration, RegistrationError>) -> Vec<Check<'a>> {
    let mut checks = vec![
        Check::new("registration", async move { check_registration(config, registration) }),
        Check::new("database", app::check_database(config)),
    ];
    // Without tokens there is nothing to ask the homeserver with, and the line above has said so.
    if let Ok(registration) = registration {
        checks.push(Check::new("homeserver", app::check_homeserver(config, registration)));
    }
    for (id, network) in &config.networks {
        for server in &network.servers {
            checks.push(Check::new(format!("network {id}, {server}"), app::check_server(id, network, server)));
        }
    }
    checks
}

/// Prints each outcome as soon as it is known, and returns how many were bad.
async fn go_through(checks: Vec<Check<'_>>) -> usize {
    let mut bad = 0;
    for Check { name, outcome } in checks {
        match outcome.await {
            Ok(sentence) => print("ok", &name, &sentence),
            Err(error) => {
                bad += 1;
                print("FAIL", &name, &format!("{error:#}"));
            }
        }
    }
    bad
}

fn print(outcome: &str, name: &str, sentence: &str) {
    println!("{outcome:<4} {name}: {sentence}");
}

fn check_registration(
    config: &Config,
    registration: &Result<Registration, RegistrationError>,
) -> anyhow::Result<String> {
    let path = config.appservice.registration.display();
    match registration {
        Err(error) => anyhow::bail!("{error}"),
        Ok(registration) => match registration.outdated(config).as_slice() {
            [] => Ok(format!("{path} has the tokens, and matches the configuration")),
            keys => anyhow::bail!(
                "{path} doesn't match the configuration in {}: run `footbridge registration` again (the tokens are kept), \
                 give the new file to the homeserver and restart the homeserver",
                keys.join(", ")
            ),
        },
    }
}
