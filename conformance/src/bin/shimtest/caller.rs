//! The shim as a command: what containerd of each age types, and what it reads back.
//!
//! May not: speak to a running shim; that goes over its socket.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use conformance::messages::{self as m};
use prost::Message;

use crate::command;
use crate::scene::{Scene, soon, surrounded};

/// In which way a container's shim is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// containerd 1.x to 2.2 without options: nothing on stdin.
    Empty,
    /// The same with options: an Any.
    Options,
    /// containerd from 2.3: BootstrapParams.
    Bootstrap,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Answer {
    /// Its output, when it succeeded. containerd keeps the two outputs of `delete` apart.
    pub fn succeeded(self) -> Result<Vec<u8>, String> {
        if self.code != 0 {
            let shown = String::from_utf8_lossy(&self.stdout).into_owned();
            return Err(format!("exit code {}: {shown}{}", self.code, self.stderr));
        }
        Ok(self.stdout)
    }

    /// Its output, when it succeeded and kept silent otherwise: both outputs of `start` are the address.
    pub fn ok(self) -> Result<Vec<u8>, String> {
        if self.code == 0 && !self.stderr.is_empty() {
            return Err(format!("it is not silent: {:?}", self.stderr));
        }
        self.succeeded()
    }
}

/// One call of the program, with the words and the surroundings that containerd gives.
pub struct Call<'a> {
    pub scene: &'a Scene<'a>,
    pub program: &'a Path,
    pub id: &'a str,
    pub bundle: &'a Path,
    /// Before the action.
    pub flags: Vec<String>,
    pub stdin: Vec<u8>,
    /// The daemon's address, and the one in TTRPC_ADDRESS.
    pub addresses: (String, String),
}

impl<'a> Call<'a> {
    pub fn new(scene: &'a Scene, id: &'a str, bundle: &'a Path) -> Call<'a> {
        Call {
            scene,
            program: &scene.lab.shim,
            id,
            bundle,
            flags: Vec::new(),
            stdin: Vec::new(),
            addresses: (scene.daemon.address(), scene.daemon.ttrpc_address()),
        }
    }

    /// With the stdin of a dialect.
    pub fn in_dialect(mut self, dialect: Dialect) -> Call<'a> {
        let options = m::wrap("containerd.runc.v1.Options", &self.scene.options());
        self.stdin = match dialect {
            Dialect::Empty => Vec::new(),
            Dialect::Options => options.encode_to_vec(),
            Dialect::Bootstrap => self.bootstrap().encode_to_vec(),
        };
        self
    }

    /// What containerd 2.3 writes.
    pub fn bootstrap(&self) -> m::BootstrapParams {
        m::BootstrapParams {
            instance_id: self.id.to_owned(),
            namespace: self.scene.namespace.clone(),
            containerd_version: "2.3.4".into(),
            containerd_ttrpc_address: self.addresses.1.clone(),
            containerd_grpc_address: self.addresses.0.clone(),
            containerd_binary: "/usr/bin/containerd".into(),
            extensions: vec![m::Extension {
                value: Some(m::wrap("containerd.runc.v1.Options", &self.scene.options())),
            }],
            ..Default::default()
        }
    }

    /// Runs `start` or `delete`.
    pub fn run(&self, action: &str) -> Result<Answer, String> {
        run(&mut self.command(action), &self.stdin)
    }

    /// The command, not yet started.
    pub fn command(&self, action: &str) -> Command {
        let mut command = surrounded(self.program, &self.scene.dir);
        command
            .args(["-namespace", &self.scene.namespace, "-address", &self.addresses.0])
            .args(["-publish-binary", "/usr/bin/containerd", "-id", self.id])
            .args(&self.flags)
            .arg(action)
            .current_dir(self.bundle)
            .env("TTRPC_ADDRESS", &self.addresses.1)
            .env("GRPC_ADDRESS", &self.addresses.0)
            .env("NAMESPACE", &self.scene.namespace)
            .env("MAX_SHIM_VERSION", "2")
            .env("GOMAXPROCS", "2");
        command
    }
}

/// Runs the program and reads both of its outputs to their ends, as containerd does: a server that keeps one of them
/// keeps containerd waiting.
pub fn run(command: &mut Command, stdin: &[u8]) -> Result<Answer, String> {
    let spawned = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|e| format!("{command:?}: {e}"))?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(mut input) = input {
        // A program that reads none of it is free to do so.
        let _ = input.write_all(stdin);
    }
    let read = |from: Option<Box<dyn Read + Send>>| {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let done = from.map_or(Ok(0), |mut from| from.read_to_end(&mut bytes));
            sender.send(done.map(|_| bytes))
        });
        receiver
    };
    let output = read(output.map(|o| Box::new(o) as Box<dyn Read + Send>));
    let errors = read(errors.map(|o| Box::new(o) as Box<dyn Read + Send>));
    // containerd gives `start` no limit of its own, and a user much less.
    let end = Instant::now() + soon();
    let mut code = None;
    command::until("the end of the shim's command", soon(), || {
        code = child.try_wait().ok().flatten();
        code.is_some()
    })
    .inspect_err(|_| drop(child.kill()))?;
    let take = |receiver: mpsc::Receiver<std::io::Result<Vec<u8>>>| {
        let left = end.saturating_duration_since(Instant::now());
        let bytes = receiver
            .recv_timeout(left)
            .map_err(|_| "somebody keeps the output of the command open")?;
        bytes.map_err(|e| e.to_string())
    };
    Ok(Answer {
        code: code.map_or(-1, command::shell_code),
        stdout: take(output)?,
        stderr: String::from_utf8_lossy(&take(errors)?).into_owned(),
    })
}
