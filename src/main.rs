//! Arguments → runtime → cli → exit code.

use std::{
    env,
    ffi::{OsStr, OsString},
    process::ExitCode,
};

/// The hub lives long and answers much: an allocator that gives memory back and does not fragment.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    // The guard of a child: before threads, signals and everything else, and without clap.
    if let [_, first, rest @ ..] = args.as_slice()
        && first == OsStr::new("__guard")
    {
        return mcpvisor::supervisor::process::guard::run(rest);
    }
    mcpvisor::cli::run(args)
}
