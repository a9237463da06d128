//! Loop devices (loop(4)): a file as a block device.
//!
//! May not: choose a path or try twice. Between asking for a free number and taking it somebody else may have taken it:
//! then [`configure`] says EBUSY.

use crate::errno::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The device cannot be written to.
pub const READ_ONLY: u32 = 1;
/// The device lets go of its file when nobody has it open or mounted any more.
pub const AUTOCLEAR: u32 = 4;
/// The file is read and written past the page cache.
pub const DIRECT_IO: u32 = 16;

const NAME: usize = 64;

#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME],
    crypt_name: [u8; NAME],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// LOOP_CTL_GET_FREE: the number of a device that is free at this moment. `control` is /dev/loop-control.
pub fn free_number(control: BorrowedFd<'_>) -> Result<u32> {
    const LOOP_CTL_GET_FREE: u64 = 0x4c82;
    // SAFETY: the ioctl takes no argument.
    let r = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
    check(r as i64, "ioctl", || "LOOP_CTL_GET_FREE").map(|n| n as u32)
}

/// Gives a free device its file, in one step (LOOP_CONFIGURE, Linux 5.8) or, before, in two or three. `name` is what
/// losetup(8) shows.
pub fn configure(device: BorrowedFd<'_>, file: BorrowedFd<'_>, name: &[u8], flags: u32) -> Result<()> {
    const LOOP_CONFIGURE: u64 = 0x4c0a;
    let config = LoopConfig {
        fd: file.as_raw_fd() as u32,
        block_size: 0,
        info: info(name, flags),
        reserved: [0; 8],
    };
    // SAFETY: `config` outlives the call and has the layout that the kernel expects.
    let r = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) };
    match check(r as i64, "ioctl", || "LOOP_CONFIGURE") {
        Err(e) if (e.is(libc::EINVAL) || e.is(libc::ENOTTY)) && crate::process::kernel_release() < (5, 8) => {
            configure_in_steps(device, file, name, flags)
        }
        other => other.map(drop),
    }
}

fn configure_in_steps(device: BorrowedFd<'_>, file: BorrowedFd<'_>, name: &[u8], flags: u32) -> Result<()> {
    const LOOP_SET_FD: u64 = 0x4c00;
    const LOOP_CLR_FD: u64 = 0x4c01;
    const LOOP_SET_STATUS64: u64 = 0x4c04;
    const LOOP_SET_DIRECT_IO: u64 = 0x4c08;
    let device = device.as_raw_fd();
    // SAFETY: the argument is a number.
    let r = unsafe { libc::ioctl(device, LOOP_SET_FD as _, file.as_raw_fd()) };
    check(r as i64, "ioctl", || "LOOP_SET_FD")?;
    let info = info(name, flags & !DIRECT_IO);
    // SAFETY: `info` outlives the call and has the layout that the kernel expects.
    let r = unsafe { libc::ioctl(device, LOOP_SET_STATUS64 as _, &raw const info) };
    let mut done = check(r as i64, "ioctl", || "LOOP_SET_STATUS64");
    if done.is_ok() && flags & DIRECT_IO != 0 {
        // SAFETY: the argument is a number.
        let r = unsafe { libc::ioctl(device, LOOP_SET_DIRECT_IO as _, 1) };
        done = check(r as i64, "ioctl", || "LOOP_SET_DIRECT_IO");
    }
    if done.is_err() {
        // SAFETY: the argument is a number. A failure leaves the device taken; the first error is what matters.
        unsafe { libc::ioctl(device, LOOP_CLR_FD as _, 0) };
    }
    done.map(drop)
}

fn info(name: &[u8], flags: u32) -> LoopInfo {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut info: LoopInfo = unsafe { std::mem::zeroed() };
    info.flags = flags;
    let n = name.len().min(NAME - 1);
    info.file_name[..n].copy_from_slice(&name[..n]);
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::time::Duration;

    type Configure = fn(BorrowedFd<'_>, BorrowedFd<'_>, &[u8], u32) -> Result<()>;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!((size_of::<LoopInfo>(), size_of::<LoopConfig>()), (232, 304));
    }

    #[test]
    fn a_file_becomes_a_device_until_it_is_closed() {
        let Ok(control) = fs::open(Path::new("/dev/loop-control"), libc::O_RDWR, 0) else {
            println!("skipped: no right to make loop devices");
            return;
        };
        let path = std::env::temp_dir().join(format!("sys-loop-{}", std::process::id()));
        std::fs::write(&path, vec![7u8; 1 << 20]).unwrap();
        let file = fs::open(&path, libc::O_RDONLY, 0).unwrap();
        for way in [configure as Configure, configure_in_steps] {
            // Other tests take devices as well.
            let (device, number) = (0..100)
                .find_map(|_| {
                    let number = free_number(control.as_fd()).unwrap();
                    let device =
                        fs::open(Path::new(&format!("/dev/loop{number}")), libc::O_RDONLY, 0).unwrap();
                    match way(device.as_fd(), file.as_fd(), b"name", READ_ONLY | AUTOCLEAR) {
                        Ok(()) => Some((device, number)),
                        Err(e) if e.is(libc::EBUSY) => None,
                        Err(e) => panic!("{e}"),
                    }
                })
                .unwrap();
            let mut buf = [0u8; 4];
            fs::read(device.as_fd(), &mut buf).unwrap();
            assert_eq!(buf, [7; 4]);
            let backing = format!("/sys/block/loop{number}/loop/backing_file");
            let ours = || std::fs::read_to_string(&backing).is_ok_and(|t| Path::new(t.trim()) == path);
            assert!(ours());
            drop(device);
            let deadline = crate::wait::Deadline::after(Duration::from_secs(10));
            while ours() {
                assert!(!deadline.is_over(), "not cleared");
                std::thread::yield_now();
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
