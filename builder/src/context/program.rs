//! Running a program of the host whose words we want to read, and ending it with everything that it has started.
//!
//! May not: wait for one that does not end when the build is called off, or keep more of its words than anybody reads.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::registry::Cancel;
use image::{Context, Error, Kind, Result};
use sys::fs;
use sys::process::{self, Block, ExecStrings, Exit, Spawn, Tie};
use sys::wait::{Deadline, Interest};

/// So much of each stream is kept.
const MOST: usize = 1 << 20;

/// How soon it is noticed that the build was called off.
const GLANCE: Duration = Duration::from_millis(50);

/// A program and its environment.
pub struct Program {
    path: PathBuf,
    env: Vec<(String, String)>,
}

/// What became of it.
pub struct Ran {
    pub is_good: bool,
    pub output: String,
    /// What it says of itself.
    pub words: String,
}

impl Program {
    /// The program of this name on PATH. Nothing of our environment is inherited but PATH.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<Program> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|candidate| sys::fs::access(candidate, libc::X_OK).is_ok() && candidate.is_file());
        let found = found.ok_or_else(|| {
            Error::of(
                Kind::Unsupported,
                format!("{name} is needed for this, and is not installed"),
            )
        })?;
        Ok(Program {
            path: found,
            env: vec![("PATH".to_owned(), path.to_string_lossy().into_owned())],
        })
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Program {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or the build was called off: then it is killed, with all that it has started.
    pub fn run(&self, args: &[&str], cancel: &Cancel) -> Result<Ran> {
        let shown = self.path.display().to_string();
        let c_path = fs::c_path(&self.path)?;
        let words = std::iter::once(shown.as_str()).chain(args.iter().copied());
        let argv = ExecStrings::new(words)?;
        let env = ExecStrings::new(self.env.iter().map(|(name, value)| format!("{name}={value}")))?;
        let null = fs::open(Path::new("/dev/null"), libc::O_RDONLY, 0)?;
        let (output, output_in) = fs::pipe()?;
        let (words, words_in) = fs::pipe()?;
        let spawned = process::spawn(&Spawn {
            path: &c_path,
            args: &argv,
            env: &env,
            fds: &[null.as_fd(), output_in.as_fd(), words_in.as_fd()],
            tie: Tie::WholeFamily,
        });
        let (pid, pidfd) = spawned.context(format!("failed to start {shown}"))?;
        drop((output_in, words_in));
        let mut streams = [Stream::new(output), Stream::new(words)];
        let listened = listen(&mut streams, cancel);
        if listened.is_err() {
            // It may have ended already.
            let _ = match &pidfd {
                Some(pidfd) => process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL),
                None => process::kill(pid, libc::SIGKILL),
            };
        }
        let exit = process::wait_pid(pid, Block::Yes)?;
        listened?;
        let [output, words] = streams.map(Stream::text);
        Ok(Ran {
            is_good: exit == Some(Exit::Code(0)),
            output,
            words,
        })
    }
}

struct Stream {
    fd: OwnedFd,
    bytes: Vec<u8>,
    has_ended: bool,
}

impl Stream {
    fn new(fd: OwnedFd) -> Stream {
        Stream {
            fd,
            bytes: Vec::new(),
            has_ended: false,
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        let n = fs::read(self.fd.as_fd(), &mut buffer)?;
        self.has_ended = n == 0;
        let room = MOST.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&buffer[..n.min(room)]);
        Ok(())
    }
}

/// Until both have ended: all who could write to them have ended too.
fn listen(streams: &mut [Stream; 2], cancel: &Cancel) -> Result<()> {
    loop {
        cancel.check()?;
        let open: Vec<usize> = (0..2).filter(|n| !streams[*n].has_ended).collect();
        if open.is_empty() {
            return Ok(());
        }
        let fds: Vec<_> = open
            .iter()
            .map(|n| (streams[*n].fd.as_fd(), Interest::Read))
            .collect();
        let ready = match sys::wait::poll(&fds, Deadline::after(GLANCE)) {
            Err(e) if e.is(libc::ETIMEDOUT) => continue,
            ready => ready?,
        };
        drop(fds);
        for (n, _) in open.iter().zip(ready).filter(|(_, ready)| ready.any()) {
            streams[*n].read()?;
        }
    }
}
