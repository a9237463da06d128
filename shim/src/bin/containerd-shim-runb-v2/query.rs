//! `-v` and `-info`: what this program and its runtime are.
//!
//! May not: fail because the runtime cannot tell what it can do; containerd asks again for each container.

use std::io::Write;

use prost::Message;
use shim::children::Children;
use shim::reactor::Reactor;
use shim::runtime::{self, Host};
use shim::signals::Signals;

use crate::dialect;
use crate::info;
use crate::options;
use crate::proto::google::Any;
use crate::proto::types::RuntimeVersion;
use crate::service;
use crate::start::read_stdin;
use crate::ttrpc::status::{Error, Result};

fn own_version() -> RuntimeVersion {
    RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: option_env!("RUNB_COMMIT").unwrap_or_default().into(),
    }
}

/// `-v`.
pub fn version() -> Result<()> {
    print(info::version_text(info::PROGRAM, &own_version()).as_bytes())
}

/// `-info`: the answer is about the runtime that the options on stdin name.
pub fn info() -> Result<()> {
    let packed = dialect::legacy_options(&read_stdin()?)?;
    let unpacked = options::extract(packed.as_ref(), |path| std::fs::read(path))?;
    let binary = service::binary_of(&unpacked.options);
    let reactor = Reactor::new()?;
    let (loop_of_task, runtime) = (reactor.clone(), binary.clone());
    let features = reactor.run(async move { ask(loop_of_task, &runtime).await })??;
    let answer = info::runtime_info(&binary, own_version(), packed, Some(features));
    print(&answer.encode_to_vec())
}

async fn ask(reactor: Reactor, binary: &str) -> Result<Any> {
    let children = Children::default();
    let signals = Signals::new(&reactor, &children)?;
    reactor.spawn(async move { while signals.next().await.is_ok() {} });
    let on = Host::new(reactor, children);
    let features = runtime::features(&on, binary).await;
    info::features(&features.map_err(|e| Error::from(e).doing("failed to ask the runtime for its features"))?)
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}
