//! `containerd-shim-runb-v2`: containerd's side of the supervision. What it supervises is in the library `shim`.
//!
//! May not: keep anything that the next process of this program needs elsewhere than in the bundle.

mod address;
mod args;
mod bundle;
mod delete;
mod dialect;
mod info;
mod log;
mod options;
mod proto;
mod publisher;
mod query;
mod serve;
mod service;
mod start;
mod stats;
mod ttrpc;

use args::Action;

#[global_allocator]
static ALLOCATOR: sys::alloc::Small = sys::alloc::Small::new();

fn main() -> ! {
    sys::process::contain_panics();
    std::process::exit(run())
}

fn run() -> i32 {
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(refusal) => {
            eprintln!("{refusal}");
            if refusal.usage {
                eprint!("{}", args::USAGE);
            }
            return refusal.exit_code();
        }
    };
    let done = match args.action {
        Action::Version => query::version(),
        Action::Help => {
            eprint!("{}", args::USAGE);
            Ok(())
        }
        Action::Info => query::info(),
        Action::Start => start::run(&args),
        Action::Delete => delete::run(&args),
        Action::Serve => serve::run(&args),
    };
    match done {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("{}: {e}", info::PROGRAM);
            1
        }
    }
}
