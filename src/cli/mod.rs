//! The command line: one file per command.
//!
//! To add a command: a file with its arguments and its `run`, a variant of [`Command`] and an arm in [`main`].

mod check;
mod decommission;
mod registration;
mod run;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, ConfigError},
    telemetry::{self, LogFormat},
};

/// How the program ends, beside clap's 2 for a command line that it can't read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// What was asked for is done.
    Ok = 0,
    /// It could not be done; why was said.
    Failure = 1,
    /// The configuration has to be mended first (`EX_CONFIG` of sysexits.h), so that starting again won't help.
    Config = 78,
}

#[derive(Parser)]
#[command(
    version,
    about = "A Matrix-IRC bridge that IRC networks are glad to host.",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong command line, 78 wrong configuration."
)]
struct Cli {
    /// How to write log lines (to standard error); which ones, the variable `RUST_LOG` says (`info` by default)
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the bridge until SIGTERM or Ctrl-C
    Run(ConfigFile),
    /// Check everything the bridge needs, and say what is wrong and what to do
    Check(ConfigFile),
    /// Take everybody of the bridge's out of every room, with an explanation; stop the bridge before. Can be interrupted
    Decommission(decommission::Decommission),
    /// Write the registration file that the homeserver reads; the tokens of an existing one are kept
    Registration(registration::Registration),
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = "config.toml", env = "FOOTBRIDGE_CONFIG")]
    config: PathBuf,
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    if let Err(error) = telemetry::init_logs(cli.log_format, filter.as_deref()) {
        complain(&error);
        return ExitCode::from(Exit::Config as u8);
    }
    // It fails only if a provider is installed already, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let exit = match cli.command {
        Command::Run(ConfigFile { config }) => run::run(&config),
        Command::Check(ConfigFile { config }) => check::run(&config),
        Command::Decommission(command) => command.run(),
        Command::Registration(command) => command.run(),
    };
    ExitCode::from(exit as u8)
}

/// Reads the configuration, or says what is wrong with it.
fn load(path: &Path) -> Result<Config, Exit> {
    Config::load(path).map_err(|error: ConfigError| {
        complain(&error);
        Exit::Config
    })
}

/// Says to the person at the terminal why it can't be done. (What happens while the bridge runs is logged instead.)
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("footbridge: {error}");
}

/// A runtime for the commands that need one.
///
/// It works on half of the cores: what comes in is handled in a few microseconds, so that more threads mostly wake each other
/// up, and the database and the homeserver need cores too. tokio's own `TOKIO_WORKER_THREADS` says otherwise.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Exit> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        builder.worker_threads(cores.div_ceil(2));
    }
    let runtime = builder.enable_all().build();
    runtime.map(|runtime| runtime.block_on(future)).map_err(|error| {
        complain(&format_args!("cannot start the runtime: {error}"));
        Exit::Failure
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_operators_interface_stays() {
        for line in [
            "footbridge run --config config.toml",
            "footbridge run --config config.toml --log-format json",
            "footbridge --log-format text check --config config.toml",
            "footbridge decommission --config config.toml --yes",
            "footbridge registration --config config.toml --output registration.yaml",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
