//! The program `bk`: parse, run, say what went wrong, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk::command::main()
}
