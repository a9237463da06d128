//! A small allocator for programs that live for milliseconds.
//!
//! musl's own makes a system call for nearly every page it hands out or takes back. This one cuts power-of-two blocks from
//! a static arena, later from mapped chunks, and keeps freed ones in a list per size. It never gives memory back to the
//! kernel before the program ends, but it reuses it, so a long `events` or foreground `run` does not grow.
//!
//! May not: be used by a program that needs much memory: a block wastes up to half of itself.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks of 16 bytes (log2 4) up to 64 KiB (log2 16); larger ones are mapped one by one.
const SMALLEST: u32 = 4;
const LARGEST: u32 = 16;
const CLASSES: usize = (LARGEST - SMALLEST + 1) as usize;

/// Untouched pages of it cost nothing.
const ARENA: usize = 512 << 10;
const CHUNK: usize = 1 << 20;

#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; ARENA]>);

// SAFETY: it belongs to the one allocator that took it, and is only reached through pointers that this hands out, each
// block to one owner.
unsafe impl Sync for Arena {}

static FIRST: Arena = Arena(UnsafeCell::new([0; ARENA]));
/// The arena is for one allocator: the first that needs it. Others begin with a chunk.
static FIRST_TAKEN: AtomicBool = AtomicBool::new(false);

struct State {
    /// Head of the list of free blocks per class; a free block holds the address of the next one.
    free: [usize; CLASSES],
    next: usize,
    end: usize,
}

/// The allocator; make it the `#[global_allocator]` of a binary.
pub struct Small {
    busy: AtomicBool,
    state: UnsafeCell<State>,
}

// SAFETY: `state` is only touched while `busy` is held.
unsafe impl Sync for Small {}

impl std::fmt::Debug for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Small")
    }
}

impl Default for Small {
    fn default() -> Small {
        Small::new()
    }
}

impl Small {
    /// An allocator without memory yet.
    pub const fn new() -> Small {
        Small {
            busy: AtomicBool::new(false),
            state: UnsafeCell::new(State {
                free: [0; CLASSES],
                next: 0,
                end: 0,
            }),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        while self.busy.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: `busy` makes this the only reference.
        let out = f(unsafe { &mut *self.state.get() });
        self.busy.store(false, Ordering::Release);
        out
    }
}

/// log2 of the block for a layout, or `None` when it is mapped on its own.
fn class(layout: &Layout) -> Option<u32> {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST);
    let log = usize::BITS - (size - 1).leading_zeros();
    (log <= LARGEST).then_some(log)
}

fn map(size: usize) -> usize {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh anonymous mapping; nothing existing is touched.
    let p = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            prot,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if p == libc::MAP_FAILED { 0 } else { p as usize }
}

fn page_up(size: usize) -> usize {
    size.next_multiple_of(4096)
}

impl State {
    fn take(&mut self, log: u32) -> usize {
        let slot = (log - SMALLEST) as usize;
        let head = self.free[slot];
        if head != 0 {
            // SAFETY: a block in the list is at least 16 bytes, aligned, and holds the next address.
            self.free[slot] = unsafe { *(head as *const usize) };
            return head;
        }
        self.cut(1 << log)
    }

    /// Blocks are aligned to their size, up to a page.
    fn cut(&mut self, size: usize) -> usize {
        let at = self.next.next_multiple_of(size.min(4096));
        if self.next != 0 && at + size <= self.end {
            self.next = at + size;
            return at;
        }
        let (start, len) = if self.end == 0 && !FIRST_TAKEN.swap(true, Ordering::Relaxed) {
            (FIRST.0.get() as usize, ARENA)
        } else {
            (map(CHUNK), CHUNK)
        };
        if start == 0 {
            return 0;
        }
        (self.next, self.end) = (start + size, start + len);
        start
    }

    fn give(&mut self, block: usize, log: u32) {
        let slot = (log - SMALLEST) as usize;
        // SAFETY: the block belongs to us again and is at least 16 bytes.
        unsafe { *(block as *mut usize) = self.free[slot] };
        self.free[slot] = block;
    }
}

// SAFETY: blocks are disjoint, at least as large and as aligned as asked (up to a page; larger alignments are refused
// with null), and stay valid until they are given back.
unsafe impl GlobalAlloc for Small {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 4096 {
            return std::ptr::null_mut();
        }
        let block = match class(&layout) {
            Some(log) => self.with(|s| s.take(log)),
            None => map(page_up(layout.size())),
        };
        if block == 0 {
            // What follows null is abort(3), which a forked process must not come to.
            crate::process::end_if_forked(b"out of memory\n");
        }
        block as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class(&layout) {
            Some(log) => self.with(|s| s.give(block as usize, log)),
            // SAFETY: mapped with this very length by `alloc`.
            None => unsafe {
                libc::munmap(block.cast(), page_up(layout.size()));
            },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract: `new_size` is not zero and does not overflow with this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if class(&layout).is_some() && class(&layout) == class(&new) {
            return block;
        }
        // SAFETY: plain allocate, copy, free; both blocks are valid for the smaller size.
        unsafe {
            let fresh = self.alloc(new);
            if !fresh.is_null() {
                std::ptr::copy_nonoverlapping(block, fresh, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_disjoint_aligned_and_reused() {
        let a = Small::new();
        let mut blocks = Vec::new();
        for round in 0..3 {
            for n in 0..400usize {
                let layout = Layout::from_size_align(1 + n * 37 % 70_000, 1 << (n % 12)).unwrap();
                // SAFETY: sizes are not zero; every block is freed with its layout below.
                let p = unsafe { a.alloc(layout) };
                assert!(!p.is_null() && (p as usize).is_multiple_of(layout.align()));
                // SAFETY: the block is ours for its size.
                unsafe { std::ptr::write_bytes(p, (n + round) as u8, layout.size()) };
                blocks.push((p, layout, (n + round) as u8));
            }
            for (p, layout, byte) in blocks.drain(..) {
                // SAFETY: allocated above with this layout; read before it is freed.
                unsafe {
                    assert!(
                        std::slice::from_raw_parts(p, layout.size())
                            .iter()
                            .all(|b| *b == byte)
                    );
                    a.dealloc(p, layout);
                }
            }
        }
        let used = a.with(|s| s.next);
        let layout = Layout::from_size_align(100, 8).unwrap();
        for _ in 0..1000 {
            // SAFETY: freed at once with the same layout.
            unsafe { a.dealloc(a.alloc(layout), layout) };
        }
        assert_eq!(a.with(|s| s.next), used, "freed blocks are used again");
    }

    #[test]
    fn two_allocators_share_nothing() {
        let layout = Layout::from_size_align(64, 8).unwrap();
        let allocators = [Small::new(), Small::new(), Small::new()];
        // SAFETY: the size is not zero; nothing is read, and the arena is never given back.
        let blocks = allocators.each_ref().map(|a| unsafe { a.alloc(layout) } as usize);
        for (n, one) in blocks.iter().enumerate() {
            assert!(blocks[n + 1..].iter().all(|other| one.abs_diff(*other) >= 64));
        }
    }

    #[test]
    fn growing_keeps_the_content() {
        let a = Small::new();
        let mut layout = Layout::from_size_align(16, 8).unwrap();
        // SAFETY: the block is reallocated with its current layout each time, and freed at the end.
        unsafe {
            let mut p = a.alloc(layout);
            std::ptr::write_bytes(p, 7, 16);
            for size in [17, 32, 500, 70_000, 200_000, 20] {
                p = a.realloc(p, layout, size);
                layout = Layout::from_size_align(size, 8).unwrap();
                assert!(std::slice::from_raw_parts(p, 16).iter().all(|b| *b == 7));
            }
            a.dealloc(p, layout);
        }
    }
}
