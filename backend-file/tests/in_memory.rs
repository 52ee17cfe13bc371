//! The suite in memory, where requests are not made by another thread.

mod suite;

use std::env::temp_dir;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let memory = if cfg!(target_os = "linux") { PathBuf::from("/dev/shm") } else { temp_dir() };
    suite::run(&memory)
}
