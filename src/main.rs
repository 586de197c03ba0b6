//! The `footbridge` program; everything is in the library.

use std::process::ExitCode;

/// Thousands of small, long-lived connections are what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    footbridge::cli::main()
}
