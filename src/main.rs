//! The `lockgate` program: parses arguments, runs a command, and maps its end to an exit code.

mod cli;
mod config;
mod lasting;
mod process;
mod registry;
mod tinyproxy;

use std::process::ExitCode;

/// glibc's allocator hands pingora's 64 KiB body buffers back to the kernel and takes them again for every answer: a quarter of
/// the CPU time of large ones. See "Decisions and measurements" in ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
