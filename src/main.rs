//! The `scopegate` command: a table of contents. The commands are in `cli`, one file each.

use std::process::ExitCode;

fn main() -> ExitCode {
    scopegate::cli::main()
}
