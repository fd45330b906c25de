//! The `lockgate` program: the library, and an allocator.

use std::process::ExitCode;

/// glibc's allocator hands pingora's 64 KiB body buffers back to the kernel and takes them again for every answer: a quarter of
/// the CPU time of large ones. See "Decisions and measurements" in ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lockgate::main(&[])
}
