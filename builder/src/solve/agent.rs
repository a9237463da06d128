//! `RUN --mount=type=ssh`: a socket of ours before the agent of whoever builds, with the owner and the mode that the step wants.
//!
//! May not: look at what is said, or outlive the step.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use image::{Context as _, Error, Result};
use sys::process::{Block, ExecStrings, Spawn, Tie};
use sys::wait::{Deadline, Interest};

/// How often we look whether the step has ended.
const GLANCE: Duration = Duration::from_millis(50);

/// More connections at a time no step needs.
const MOST: usize = 64;

/// A socket that is there as long as this.
pub struct Agent {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    at_work: Option<JoinHandle<()>>,
    /// Ours, behind it; ends after it.
    _keys: Option<Keys>,
}

impl Agent {
    /// Listens at `path`, a name that is free, and passes on to the agent at `agent`.
    ///
    /// # Errors
    /// The agent does not answer, or the socket cannot be made.
    pub fn start(path: PathBuf, agent: &Path, owner: (u32, u32), mode: u32) -> Result<Agent> {
        Agent::before(path, agent, owner, mode, None)
    }

    /// The same before an agent of ours.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn of_keys(path: PathBuf, keys: Keys, owner: (u32, u32), mode: u32) -> Result<Agent> {
        let agent = keys.socket().to_owned();
        Agent::before(path, &agent, owner, mode, Some(keys))
    }

    fn before(
        path: PathBuf,
        agent: &Path,
        owner: (u32, u32),
        mode: u32,
        keys: Option<Keys>,
    ) -> Result<Agent> {
        // A wrong address is said before the step begins, not by ssh in it.
        UnixStream::connect(agent).context(format!(
            "failed to connect to the ssh agent at {}",
            agent.display()
        ))?;
        let failed = || format!("failed to make the socket {}", path.display());
        let address = Address::of(&path).context(failed())?;
        let listener = UnixListener::bind(&address.path).context(failed())?;
        listener.set_nonblocking(true).context(failed())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).context(failed())?;
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).context(failed())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, agent) = (is_over.clone(), agent.to_owned());
        let at_work = std::thread::Builder::new()
            .name("ssh-agent".into())
            .spawn(move || serve(&listener, &agent, &over))
            .map_err(|e| Error::new(format!("failed to start a thread: {e}")))?;
        Ok(Agent {
            path,
            is_over,
            at_work: Some(at_work),
            _keys: keys,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(at_work) = self.at_work.take() {
            // It has nothing to say.
            let _ = at_work.join();
        }
    }
}

/// What a socket is called when it is bound or connected to, by us and by programs of ours.
struct Address {
    path: PathBuf,
    /// What a short name for a long path hangs on.
    _directory: Option<OwnedFd>,
}

impl Address {
    fn of(socket: &Path) -> Result<Address> {
        let (directory, near) = monitor::place::near(socket)?;
        // What is "self" to us is another process to others.
        let path = match near.strip_prefix("/proc/self") {
            Ok(rest) if directory.is_some() => Path::new("/proc")
                .join(sys::process::pid().to_string())
                .join(rest),
            _ => near,
        };
        Ok(Address {
            path,
            _directory: directory,
        })
    }
}

/// An agent that has the keys of some files. It dies with us.
pub struct Keys {
    pid: i32,
    socket: Address,
}

/// How long an agent may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

impl Keys {
    /// Starts ssh-agent(1) at `socket`, a name that is free, and gives it the keys.
    ///
    /// # Errors
    /// The programs of OpenSSH are not installed, or a file is no key that can be read without a passphrase.
    pub fn of(files: &[PathBuf], socket: &Path) -> Result<Keys> {
        let program = program("ssh-agent")?;
        let socket = Address::of(socket)?;
        let words = [
            program.as_os_str(),
            "-D".as_ref(),
            "-a".as_ref(),
            socket.path.as_os_str(),
        ];
        let args = ExecStrings::new(words.iter().map(|word| word.as_encoded_bytes()))?;
        let env = ExecStrings::new(["PATH=/usr/bin:/bin"])?;
        let nothing = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        let (pid, _) = sys::process::spawn(&Spawn {
            path: &sys::fs::c_path(&program)?,
            args: &args,
            env: &env,
            fds: &[nothing.as_fd(), nothing.as_fd(), nothing.as_fd()],
            tie: Tie::DiesWithUs,
        })
        .context("failed to start ssh-agent")?;
        let keys = Keys { pid, socket };
        keys.wait()?;
        for file in files {
            keys.add(file)?;
        }
        Ok(keys)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket.path
    }

    fn wait(&self) -> Result<()> {
        let until = std::time::Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            if std::time::Instant::now() > until {
                return Err(Error::new("ssh-agent does not listen"));
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    fn add(&self, file: &Path) -> Result<()> {
        let failed = || format!("failed to load the ssh key {}", file.display());
        let done = std::process::Command::new(program("ssh-add")?)
            .arg("-q")
            .arg(file)
            .env("SSH_AUTH_SOCK", self.socket())
            // Nobody is there to be asked for a passphrase.
            .env("SSH_ASKPASS_REQUIRE", "never")
            .stdin(std::process::Stdio::null())
            .output()
            .context(failed())?;
        match done.status.success() {
            true => Ok(()),
            false => Err(Error::invalid(String::from_utf8_lossy(&done.stderr).trim()).context(failed())),
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // One that has ended by itself is gone.
        let _ = sys::process::kill(self.pid, libc::SIGKILL);
        let _ = sys::process::wait_pid(self.pid, Block::Yes);
    }
}

fn program(name: &str) -> Result<PathBuf> {
    let found = ["/usr/bin", "/usr/local/bin", "/bin"].map(|place| Path::new(place).join(name));
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::of(
            image::Kind::Unsupported,
            format!("{name} is not installed: keys for --ssh need OpenSSH; a socket of an agent does not"),
        )
    })
}

fn serve(listener: &UnixListener, agent: &Path, is_over: &AtomicBool) {
    std::thread::scope(|scope| {
        let mut open = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            open.retain(|connection: &std::thread::ScopedJoinHandle<'_, ()>| !connection.is_finished());
            match sys::wait::poll(&[(listener.as_fd(), Interest::Read)], Deadline::after(GLANCE)) {
                Err(e) if e.is(libc::ETIMEDOUT) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            let Ok((ours, _)) = listener.accept() else {
                continue;
            };
            if open.len() < MOST
                && let Ok(theirs) = UnixStream::connect(agent)
            {
                open.push(scope.spawn(move || pass(&ours, &theirs, is_over)));
            }
        }
    });
}

/// Until one side hangs up, or the step is over.
fn pass(ours: &UnixStream, theirs: &UnixStream, is_over: &AtomicBool) {
    let mut buffer = vec![0; 16 << 10];
    while !is_over.load(Ordering::Relaxed) {
        let both = [(ours.as_fd(), Interest::Read), (theirs.as_fd(), Interest::Read)];
        let ready = match sys::wait::poll(&both, Deadline::after(GLANCE)) {
            Err(e) if e.is(libc::ETIMEDOUT) => continue,
            Err(_) => return,
            Ok(ready) => ready,
        };
        for (ready, (mut from, mut to)) in ready.iter().zip([(ours, theirs), (theirs, ours)]) {
            if !ready.any() {
                continue;
            }
            match from.read(&mut buffer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(n) if n > 0 && to.write_all(buffer.get(..n).unwrap_or_default()).is_ok() => {}
                _ => {
                    // Whoever waits for an answer learns that there is none.
                    let _ = to.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_said_is_passed_on_and_the_end_is_an_end() {
        let place = std::env::temp_dir().join(format!("brig-agent-{}", std::process::id()));
        // An address of a socket has 108 bytes.
        let far = place.join("x".repeat(100));
        std::fs::create_dir_all(&far).unwrap();
        let theirs = UnixListener::bind(place.join("theirs")).unwrap();
        let echo = std::thread::spawn(move || {
            // The first connection only asks whether somebody is there.
            for _ in 0..2 {
                let (mut connection, _) = theirs.accept().unwrap();
                let mut word = [0; 5];
                if connection.read_exact(&mut word).is_ok() {
                    connection.write_all(&word).unwrap();
                }
            }
        });
        let agent = Agent::start(far.join("ours"), &place.join("theirs"), (0, 0), 0o600);
        // Only root may give it to root.
        if let Ok(agent) = agent {
            let address = Address::of(agent.path()).unwrap();
            let mut connection = UnixStream::connect(&address.path).unwrap();
            connection.write_all(b"hello").unwrap();
            let mut word = [0; 5];
            connection.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"hello");
            drop(agent);
            assert_eq!(connection.read(&mut word).unwrap_or(0), 0);
            echo.join().unwrap();
        }
        assert!(Agent::start(place.join("none"), &place.join("nobody"), (0, 0), 0o600).is_err());
        std::fs::remove_dir_all(&place).unwrap();
    }
}
