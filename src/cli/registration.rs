//! `footbridge registration`: writes the file that introduces the bridge to the homeserver.

use std::path::PathBuf;

use super::{ConfigFile, Exit, complain, load};
use crate::matrix::registration::{Registration as File, RegistrationError};

#[derive(clap::Args)]
pub(super) struct Registration {
    #[command(flatten)]
    config: ConfigFile,
    /// Where to write it [default: where the configuration's `appservice.registration` says]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Registration {
    pub(super) fn run(self) -> Exit {
        let config = match load(&self.config.config) {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let output = self.output.unwrap_or_else(|| config.appservice.registration.clone());
        let kept = match File::load(&output) {
            Ok(file) => Some(file),
            Err(RegistrationError::Missing(_)) => None,
            // Writing over a file that we can't read would throw its tokens away.
            Err(error) => {
                complain(&error);
                return Exit::Failure;
            }
        };
        let tokens = if kept.is_some() { "its tokens were kept" } else { "with new tokens" };
        let file = File::generate(&config, kept, &mut rand::rng());
        if let Err(error) = file.save(&output) {
            complain(&error);
            return Exit::Failure;
        }
        eprintln!("Wrote {} ({tokens}).", output.display());
        if !same_file(&output, &config.appservice.registration) {
            let read = config.appservice.registration.display();
            eprintln!(
                "The bridge reads its tokens from {read}: put the same file there, or change appservice.registration."
            );
        }
        eprintln!(
            "Name it in the homeserver's configuration and restart the homeserver; in Synapse's homeserver.yaml:"
        );
        eprintln!("  app_service_config_files: [\"{}\"]", output.canonicalize().unwrap_or(output).display());
        Exit::Ok
    }
}

fn same_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}
