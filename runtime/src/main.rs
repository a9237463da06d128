//! The binary: argv in, exit code out.

#[global_allocator]
static ALLOCATOR: sys::alloc::Small = sys::alloc::Small::new();

fn main() -> ! {
    sys::process::contain_panics();
    std::process::exit(runtime::cli::run(std::env::args_os()))
}
