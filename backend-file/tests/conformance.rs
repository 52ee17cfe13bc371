//! The suite, where temporary files are, which is mostly on a disk.

mod suite;

use std::env::temp_dir;
use std::process::ExitCode;

fn main() -> ExitCode {
    suite::run(&temp_dir())
}
