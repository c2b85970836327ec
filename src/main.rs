//! The program `beadm-rs`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    beadm_rs::cli::main()
}
