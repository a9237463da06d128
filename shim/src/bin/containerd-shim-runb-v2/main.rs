//! The containerd shim.

#![allow(dead_code)]

mod address;
mod args;
mod bundle;
mod dialect;
mod info;
mod options;
mod proto;
mod ttrpc;

#[global_allocator]
static ALLOCATOR: sys::alloc::Small = sys::alloc::Small::new();

fn main() -> ! {
    std::process::exit(1)
}
