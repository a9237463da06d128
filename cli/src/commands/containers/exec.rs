//! `exec`.

use engine::exec::{self, Wanted};
use monitor::protocol::Size;

use crate::flags::Parsed;
use crate::keys::DetachKeys;
use crate::relay::{self, End, Relay, Seat, Signals};
use crate::run;
use crate::session::{Failure, Outcome, Session};
use crate::workshop;

pub(super) fn exec(session: &Session, parsed: &Parsed) -> Outcome {
    let mut operands = parsed.names().into_iter();
    let name = operands.next().unwrap_or_default();
    let env = run::environment_of(parsed).map_err(Failure::plain)?;
    let (tty, detach) = (parsed.switch("tty"), parsed.switch("detach"));
    let stdin = parsed.switch("interactive") && !detach;
    let keys = run::detach_keys(session, parsed)?;
    if !detach {
        run::terminal(session, stdin, tty)?;
    }
    let containers = workshop::containers(session)?;
    let id = containers.find_id(&name)?;
    let wanted = Wanted {
        command: operands.collect(),
        env,
        user: parsed.text("user"),
        working_dir: parsed.text("workdir"),
        privileged: parsed.switch("privileged"),
        tty,
        stdin,
        detach,
        size: size(tty && !detach),
    };
    // Ctrl-C ends us and not the process, as with Docker; held back so that the terminal is given back first.
    let signals = match tty && !detach {
        true => Signals::Hold,
        false => Signals::Leave,
    };
    let seat = Seat::take(tty && !detach, stdin, signals)?;
    let streams = exec::exec(&containers, &id, &wanted).map_err(|failure| Failure {
        code: failure.code,
        ..Failure::from(failure.error)
    })?;
    if detach {
        return Ok(());
    }
    let relay = Relay {
        tty,
        stdin,
        keys: DetachKeys::new(keys),
        redraw: false,
        signal: None,
    };
    match relay.run(streams, seat)? {
        End::Ended(ended) if ended.code == 0 => Ok(()),
        End::Ended(ended) => Err(Failure::silent(ended.code)),
        End::Detached => Err(Failure::plain("read escape sequence")),
        End::Lost => Err(Failure::plain(format!(
            "the monitor of container {id} has ended before the command"
        ))),
    }
}

fn size(wanted: bool) -> Option<Size> {
    wanted.then(relay::terminal_size).flatten()
}
