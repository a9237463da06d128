//! The news that the kernel killed a process of a container for its memory limit.
//!
//! May not: wait, or decide what a kill means. Begin right after the container is created, take once more when the init
//! has exited: a limit can be met before the first poll, and the last kill is that of the init itself.

use crate::cgroup::{Cgroup, Error, Result, parse_number};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// A watch on one container. Its descriptor becomes readable when there may be news ([`OomWatch::take`]). Both files are
/// held open, so that a cgroup that is removed, and one made later under the same name, cannot be mixed up.
#[derive(Debug)]
pub struct OomWatch {
    news: OwnedFd,
    counter: OwnedFd,
    kind: Kind,
    /// The kills that [`OomWatch::take`] has answered for.
    told: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// An eventfd, and memory.oom_control.
    V1 {
        /// When a kill was answered for that was not counted yet.
        early: Option<Instant>,
    },
    /// inotify, and memory.events.
    V2,
}

/// The time within which the kernel counts the kill that it has signalled.
const SOON: Duration = Duration::from_secs(1);

impl OomWatch {
    /// Begins to watch; `None` when the container has no memory controller.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the cgroup is gone.
    pub fn begin(cgroup: &Cgroup) -> Result<Option<OomWatch>> {
        let Some(dir) = cgroup.dir_of("memory") else {
            return Ok(None);
        };
        let begun = match cgroup {
            Cgroup::V1(_) => begin_v1(dir),
            Cgroup::V2(_) => begin_v2(dir),
        };
        match begun {
            Ok(watch) => Ok(Some(watch)),
            Err(e) if e.is(libc::ENOENT) => match cgroup.exists() {
                true => Ok(None),
                false => Err(Error::NotFound),
            },
            Err(e) => Err(Error::Failed("failed to watch for kills by the memory limit", e)),
        }
    }

    /// True when a process was killed since the last time this was true. May be called at any time; never blocks.
    pub fn take(&mut self) -> bool {
        match self.kind {
            Kind::V1 { early } => self.take_v1(early),
            Kind::V2 => self.take_v2(),
        }
    }

    /// How many processes were killed until now. `None` when the cgroup is gone, or the kernel does not count them
    /// (version 1 before Linux 4.13).
    pub fn check(&self) -> Option<u64> {
        let text = self.read_counter().ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(parse_number)
    }

    fn take_v2(&mut self) -> bool {
        // A failure leaves the descriptor readable, which costs time, not news: the counter is what counts.
        let _ = sys::watch::drain(self.news.as_fd());
        let now = self.check().unwrap_or(self.told);
        let more = now > self.told;
        self.told = now;
        more
    }

    /// The kernel signals before it kills, so that the kill may not be counted yet: then it is answered for early, and its
    /// count, or a second signal for it, is no news. It also signals when a parent cgroup runs out of memory, which cannot
    /// be told apart; the next signal is news again. The signal of the removal of the cgroup itself is none.
    fn take_v1(&mut self, early: Option<Instant>) -> bool {
        let signals = sys::watch::take_events(self.news.as_fd()).unwrap_or(0);
        if self.read_counter().is_err() {
            return false;
        }
        let recent = early.is_some_and(|t| t.elapsed() < SOON);
        let now = self.check().unwrap_or(0);
        if now > self.told {
            let answered = early.is_some() && (signals == 0 || recent);
            let news = now - self.told > u64::from(answered);
            self.told = now;
            self.kind = Kind::V1 { early: None };
            return news;
        }
        if signals > 0 && !recent {
            let early = Some(Instant::now());
            self.kind = Kind::V1 { early };
            return true;
        }
        false
    }

    /// A removed cgroup gives ENODEV.
    fn read_counter(&self) -> sys::Result<String> {
        // Some ten short lines.
        let mut buf = [0u8; 512];
        let n = sys::fs::read_at(self.counter.as_fd(), &mut buf, 0)?;
        Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

fn begin_v1(dir: &Path) -> sys::Result<OomWatch> {
    let counter = sys::fs::open(&dir.join("memory.oom_control"), libc::O_RDONLY, 0)?;
    let news = sys::watch::eventfd()?;
    let control = sys::fs::open(&dir.join("cgroup.event_control"), libc::O_WRONLY, 0)?;
    let line = format!("{} {}", news.as_raw_fd(), counter.as_raw_fd());
    sys::fs::write_once(control.as_fd(), line.as_bytes())?;
    Ok(OomWatch {
        news,
        counter,
        kind: Kind::V1 { early: None },
        told: 0,
    })
}

fn begin_v2(dir: &Path) -> sys::Result<OomWatch> {
    let path = dir.join("memory.events");
    let counter = sys::fs::open(&path, libc::O_RDONLY, 0)?;
    let news = sys::watch::inotify()?;
    sys::watch::watch_modification(news.as_fd(), &path)?;
    Ok(OomWatch {
        news,
        counter,
        kind: Kind::V2,
        told: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The logic alone, on a plain file: a kernel whose memory controller sits in version 2 is not everywhere.
    #[test]
    fn each_kill_is_told_once_also_without_a_signal() {
        let dir = std::env::temp_dir().join(format!("shim-oom-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let write = |kills: u64| {
            let text = format!("low 0\nhigh 0\nmax 3\noom 9\noom_kill {kills}\noom_group_kill 7\n");
            std::fs::write(dir.join("memory.events"), text).unwrap();
        };
        write(0);
        let cgroup = Cgroup::V2(dir.clone());
        let mut watch = OomWatch::begin(&cgroup).unwrap().unwrap();
        assert!(!watch.take());
        write(2);
        sys::wait::readable(watch.as_fd(), sys::wait::Deadline::after(Duration::from_secs(10))).unwrap();
        assert_eq!(watch.check(), Some(2));
        assert!(watch.take());
        let now = sys::wait::Deadline::after(Duration::ZERO);
        assert!(sys::wait::readable(watch.as_fd(), now).is_err(), "read away");
        assert!(!watch.take());
        // What was counted before we began is news as well: it happened between create and now.
        assert!(OomWatch::begin(&cgroup).unwrap().unwrap().take());
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(OomWatch::begin(&cgroup), Err(Error::NotFound)));
    }
}
