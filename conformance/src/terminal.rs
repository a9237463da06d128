//! A person at a real terminal, typing into a program and reading what comes back.
//!
//! May not: wait without a bound. The pseudo-terminal is util-linux's `script`.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::command;

/// A shell command running at a terminal of 40 lines and 100 columns.
pub struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not yet expected.
    pending: String,
}

impl Terminal {
    /// Starts `shell_command`; the name of the terminal device is the first thing that is shown.
    pub fn open(shell_command: &str) -> Result<Terminal, String> {
        let line = format!("tty; stty rows 40 cols 100; exec {shell_command}");
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("script: {e}"))?;
        let keyboard = child.stdin.take();
        let mut output = child.stdout.take().ok_or("script: no output")?;
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = output.read(&mut buffer) {
                if length == 0 || sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Terminal {
            child,
            keyboard,
            screen,
            pending: String::new(),
        })
    }

    /// Reads until `text` was shown; the answer is everything before it.
    pub fn expect(&mut self, text: &str, deadline: Duration) -> Result<String, String> {
        let end = Instant::now() + deadline;
        loop {
            if let Some((before, after)) = self.pending.split_once(text) {
                let before = before.to_owned();
                self.pending = after.to_owned();
                return Ok(before);
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.pending.push_str(&String::from_utf8_lossy(&bytes)),
                Err(e) => {
                    return Err(format!(
                        "waiting for {text:?}: {e}; on the screen: {:?}",
                        self.pending
                    ));
                }
            }
        }
    }

    /// Types.
    pub fn send(&mut self, keys: &str) -> Result<(), String> {
        let keyboard = self.keyboard.as_mut().ok_or("the keyboard is gone")?;
        keyboard
            .write_all(keys.as_bytes())
            .and_then(|()| keyboard.flush())
            .map_err(|e| format!("typing: {e}"))
    }

    /// Waits for the end of the program; the answer is its exit code.
    pub fn close(mut self, deadline: Duration) -> Result<i32, String> {
        let mut status = None;
        command::until("the end of the terminal's program", deadline, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        Ok(status.map_or(-1, command::shell_code))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // The program at the other side of the pseudo-terminal gets its hang-up from this.
            if let Err(e) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
                eprintln!("script: {e}");
            }
        }
    }
}
