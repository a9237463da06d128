//! `brig-monitor`: lives as long as one container. Brig starts it, from the mount namespace in which the container's root is mounted,
//! and talks to it over its socket. With `--ground` it is a user's `keeper` and has no container.
//!
//! May not: print. Its streams are /dev/null; what goes wrong is told to who asked, or stands in `monitor.log` beside the socket.

mod again;
mod args;
mod backlog;
mod beside;
mod connection;
mod control;
mod dialer;
mod exec;
mod health;
mod io;
mod keeper;
mod life;
mod monitor;
mod networks;
mod proxy;
mod removal;
mod resolver;
mod restart;

#[global_allocator]
static ALLOCATOR: sys::alloc::Small = sys::alloc::Small::new();

fn main() -> ! {
    sys::process::contain_panics();
    std::process::exit(run())
}

fn run() -> i32 {
    let mut words = std::env::args_os().skip(1).peekable();
    let done = match words.next_if(|word| word == "--ground") {
        Some(_) => keeper::parse(words).and_then(keeper::run),
        None => args::parse(words).and_then(|args| life::run(&args).map_err(|e| e.to_string())),
    };
    match done {
        Ok(()) => 0,
        Err(e) => {
            // Somebody may have started it by hand.
            eprintln!("brig-monitor: {e}");
            1
        }
    }
}
