//! The one protocol between the runtime (parent) and the process it makes (child): typed messages on a
//! SOCK_SEQPACKET pair. End of file means that the other side is dead.
//!
//! ```text
//! child                                    parent
//!   Stage{pid}      (only with two forks)    the init's pid as the parent sees it
//!   Ask(Setup)    -> id maps, cgroup, limits -> Go
//!   Ask(Network)+fd -> linux.netDevices       -> Go    a netlink socket of the container's namespace
//!   Source(n)     -> bind source of mount n  -> Go + fd  (only a source inside the root that the parent has to open)
//!   Ask(Cgroup)   -> systemd has moved it   -> Go
//!   Ask(Hooks)    -> prestart, createRuntime -> Go
//!   Listener(fd)                             the seccomp filter's, to be taken; or Lend, and it comes along
//!   Console + fd                             terminal master for a foreground run or exec
//!   Busy(what)                               a hook without deadline runs in the child
//!   Ask(Ready)    -> state recorded          -> Go      (create: the child parks; run: it goes on)
//!   Warning(text)                            a best effort that missed
//!   Failed{..}                               last words
//!   (close by exec)                          the user's program runs
//! ```
//!
//! May not: block without a deadline on the parent's side.

use crate::error::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use sys::socket;

/// What the child asks the parent to do before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Write the id maps, join the cgroup, set limits.
    Setup,
    /// Move network devices here. A netlink socket comes along that was made in the container's namespace.
    Network,
    /// Only with systemd: be in the cgroup.
    Cgroup,
    /// Run the hooks that belong into the runtime's namespaces.
    Hooks,
    /// Record that the container is made; afterwards the child lives on without the parent.
    Ready,
}

/// A message of the child.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// The second fork made this process, in the parent's pid namespace.
    Stage(i32),
    /// See [`Request`]; the child waits for [`Answer::Go`].
    Ask(Request),
    /// The bind source of the mount at this place is wanted; the child waits for [`Answer::Go`] with a descriptor.
    Source(u32),
    /// A terminal master comes along.
    Console,
    /// This descriptor of the child's is the listener of its seccomp filter; the child waits for an [`Answer`].
    Listener(i32),
    /// A hook runs in the child; the parent waits without deadline until the next message.
    Busy(String),
    /// Something that is not enforced here, for the user to read.
    Warning(String),
    /// The child gave up.
    Failed {
        /// Name of the step.
        step: String,
        /// errno of the system call, or 0.
        errno: i32,
        /// The chain of phrases.
        text: String,
    },
}

/// A message of the parent. No answer (end of file) means: give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Go = 1,
    /// We may not take the descriptor: send it.
    Lend = 2,
}

/// One end of the pair.
#[derive(Debug)]
pub struct Wire(OwnedFd);

/// A message is at most this long; longer texts are cut.
const LONGEST: usize = 16 << 10;

impl Wire {
    /// (parent's end, child's end).
    pub fn pair() -> Result<(Wire, Wire)> {
        let (a, b) = socket::seqpacket_pair()?;
        Ok((Wire(a), Wire(b)))
    }

    /// For poll(2).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Child: sends a report, with a descriptor where one belongs to it.
    pub fn report(&self, report: &Report, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = encode(report);
        match fd {
            Some(fd) => socket::send(self.fd(), &bytes, &[fd])?,
            // write(2) and read(2) rather than sendmsg(2): without no_new_privs the user's seccomp filter is loaded
            // already, and a strict one knows only what an ordinary program needs.
            None => sys::fs::write(self.fd(), &bytes)?,
        };
        Ok(())
    }

    /// Child: sends a request and waits for the answer. A dead parent is an error: a container that nobody
    /// recorded must not go on.
    pub fn ask(&self, request: Request) -> Result<()> {
        self.ask_with(request, None)
    }

    /// [`Wire::ask`] with a descriptor for the parent.
    pub fn ask_with(&self, request: Request, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        self.report(&Report::Ask(request), fd)?;
        self.wait_go()
    }

    /// Child: asks for the bind source of a mount. Long before the user's filter, so sendmsg(2) may be used.
    pub fn ask_source(&self, position: usize) -> Result<OwnedFd> {
        self.report(&Report::Source(position as u32), None)?;
        let mut byte = [0u8; 1];
        let (_, mut fds) = socket::receive(self.fd(), &mut byte)?;
        fds.pop().ok_or_else(|| Error::new("the runtime died"))
    }

    /// Child: gives the listener of its filter away. The filter is in force and may hold sendmsg(2) back until somebody
    /// listens, so the descriptor is only named, and sent where the parent may not take it (an ordinary user's runtime).
    pub fn offer_listener(&self, listener: BorrowedFd<'_>, can_send: bool) -> Result<()> {
        let report = Report::Listener(listener.as_raw_fd());
        self.report(&report, None)?;
        match self.wait_answer()? {
            Answer::Go => Ok(()),
            Answer::Lend if can_send => {
                self.report(&report, Some(listener))?;
                self.wait_go()
            }
            // We would wait for a verdict that nobody can give yet.
            Answer::Lend => Err(Error::new(
                "SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall by an ordinary user",
            )),
        }
    }

    /// Waits for [`Answer::Go`]; end of file is an error.
    pub fn wait_go(&self) -> Result<()> {
        self.wait_answer().map(drop)
    }

    fn wait_answer(&self) -> Result<Answer> {
        let mut byte = [0u8; 1];
        match sys::fs::read(self.fd(), &mut byte)? {
            1 if byte == [Answer::Lend as u8] => Ok(Answer::Lend),
            1 => Ok(Answer::Go),
            _ => Err(Error::new("the runtime died")),
        }
    }

    /// Parent: answers a request.
    pub fn answer(&self, answer: Answer) -> Result<()> {
        socket::send(self.fd(), &[answer as u8], &[])?;
        Ok(())
    }

    /// Parent: answers [`Report::Source`].
    pub fn answer_source(&self, tree: BorrowedFd<'_>) -> Result<()> {
        socket::send(self.fd(), &[1], &[tree])?;
        Ok(())
    }

    /// Parent: the next report; `None` when the child's end is closed.
    pub fn next(&self) -> Result<Option<(Report, Vec<OwnedFd>)>> {
        let mut buf = vec![0u8; LONGEST];
        match socket::receive(self.fd(), &mut buf) {
            Ok((0, _)) => Ok(None),
            Ok((n, fds)) => Ok(Some((decode(&buf[..n])?, fds))),
            Err(e) if e.is(libc::ECONNRESET) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn encode(report: &Report) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    let put = |out: &mut Vec<u8>, text: &str| {
        let cut = floor_char(text, LONGEST / 2 - 64);
        out.extend_from_slice(&(cut.len() as u32).to_le_bytes());
        out.extend_from_slice(cut.as_bytes());
    };
    match report {
        Report::Stage(pid) => {
            out.push(b'S');
            out.extend_from_slice(&pid.to_le_bytes());
        }
        Report::Ask(request) => out.extend_from_slice(&[b'A', *request as u8]),
        Report::Source(position) => {
            out.push(b'M');
            out.extend_from_slice(&position.to_le_bytes());
        }
        Report::Console => out.push(b'C'),
        Report::Listener(number) => {
            out.push(b'L');
            out.extend_from_slice(&number.to_le_bytes());
        }
        Report::Busy(what) => {
            out.push(b'B');
            put(&mut out, what);
        }
        Report::Warning(text) => {
            out.push(b'W');
            put(&mut out, text);
        }
        Report::Failed { step, errno, text } => {
            out.push(b'F');
            out.extend_from_slice(&errno.to_le_bytes());
            put(&mut out, step);
            put(&mut out, text);
        }
    }
    out
}

/// The longest prefix of at most `max` bytes that ends at a character.
fn floor_char(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads the fields of a message; every length is checked (CVE-2021-43784 was a length that overflowed).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        if self.0.len() < n {
            return Err(Error::new("a message of the container's init is cut short"));
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    fn number(&mut self) -> Result<i32> {
        let b = self.bytes(4)?;
        Ok(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn text(&mut self) -> Result<String> {
        let len = self.number()?;
        let bytes = self.bytes(usize::try_from(len).unwrap_or(usize::MAX))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

fn decode(bytes: &[u8]) -> Result<Report> {
    let mut f = Fields(bytes);
    Ok(match f.byte()? {
        b'S' => Report::Stage(f.number()?),
        b'A' => Report::Ask(match f.byte()? {
            0 => Request::Setup,
            1 => Request::Network,
            2 => Request::Cgroup,
            3 => Request::Hooks,
            4 => Request::Ready,
            n => return Err(Error::new(format!("unknown request {n} of the container's init"))),
        }),
        b'M' => Report::Source(f.number()?.cast_unsigned()),
        b'C' => Report::Console,
        b'L' => Report::Listener(f.number()?),
        b'B' => Report::Busy(f.text()?),
        b'W' => Report::Warning(f.text()?),
        b'F' => {
            let errno = f.number()?;
            Report::Failed {
                errno,
                step: f.text()?,
                text: f.text()?,
            }
        }
        n => return Err(Error::new(format!("unknown message {n} of the container's init"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_survives_the_wire() {
        for report in [
            Report::Stage(42),
            Report::Ask(Request::Setup),
            Report::Ask(Request::Network),
            Report::Ask(Request::Cgroup),
            Report::Ask(Request::Hooks),
            Report::Ask(Request::Ready),
            Report::Source(7),
            Report::Console,
            Report::Listener(9),
            Report::Busy("hook".into()),
            Report::Warning("w".into()),
            Report::Failed {
                step: "pivot".into(),
                errno: 22,
                text: "öäü".into(),
            },
        ] {
            assert_eq!(decode(&encode(&report)).unwrap(), report);
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let long = "ö".repeat(LONGEST);
        let Report::Busy(text) = decode(&encode(&Report::Busy(long))).unwrap() else {
            panic!()
        };
        assert!(text.len() < LONGEST && text.chars().all(|c| c == 'ö'));
    }

    #[test]
    fn cut_messages_are_errors() {
        let whole = encode(&Report::Failed {
            step: "a".into(),
            errno: 1,
            text: "b".into(),
        });
        for n in 0..whole.len() {
            assert!(decode(&whole[..n]).is_err());
        }
        assert!(decode(&[b'F', 0, 0, 0, 0, 255, 255, 255, 255, 1]).is_err());
    }

    #[test]
    fn a_dead_peer_is_end_of_file_here_and_an_error_there() {
        let (parent, child) = Wire::pair().unwrap();
        drop(child);
        assert!(parent.next().unwrap().is_none());
        let (parent, child) = Wire::pair().unwrap();
        drop(parent);
        assert!(child.wait_go().is_err());
    }
}
