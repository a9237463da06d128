//! More processes in a container that runs.
//!
//! May not: keep an exec's end from anybody, or the container from ending: when the init ends, they all do.

use std::rc::Rc;

use monitor::protocol::{Ended, Exec, Kind, Size};
use monitor::state::Status;
use serde_json::{Value, json};
use shim::container::Container;
use shim::stdio::Wanted;
use shim::sync::Once;

use crate::connection::Client;
use crate::io::{self, Io, Shape};
use crate::monitor::{Monitor, Refusal};

/// One that runs.
pub struct Running {
    pub id: String,
    pub pid: u32,
    pub container: Rc<Container>,
}

/// Starts it, answers, and exchanges frames until its end.
pub async fn serve(monitor: &Rc<Monitor>, client: &Rc<Client>, wish: Exec) {
    let io = Rc::<Io>::default();
    if !wish.detach {
        // What is written before the answer comes after it.
        client.out.hold();
        io.show(&client.out, wish.stdout, wish.stderr);
    }
    let (stdin, detach) = (wish.stdin, wish.detach);
    let running = match start(monitor, &io, wish).await {
        Ok(running) => Rc::new(running),
        Err(refusal) => return client.release(&Err(refusal)),
    };
    client.release(&Ok(json!({ "pid": running.pid, "id": running.id })));
    let ended = Rc::<Once<Ended>>::default();
    let (monitor_of_task, running_of_task, io_of_task, told) = (
        Rc::clone(monitor),
        Rc::clone(&running),
        Rc::clone(&io),
        Rc::clone(&ended),
    );
    monitor.on.reactor.spawn(async move {
        let code = see_to_end(&monitor_of_task, &running_of_task, &io_of_task).await;
        told.set(Ended {
            code,
            ..Ended::default()
        });
    });
    if detach {
        return;
    }
    let signalled = async |signal: i32| {
        // One for a process that has just ended is for nobody.
        let _ = running
            .container
            .kill(&running.id, signal as u32, false, None)
            .await;
    };
    client.exchange(&io, &ended, stdin, true, signalled).await;
}

/// Starts a process with these streams.
pub async fn start(monitor: &Rc<Monitor>, io: &Rc<Io>, wish: Exec) -> Result<Running, Refusal> {
    let (_, container) = monitor.running()?;
    if monitor.status() == Status::Paused {
        let id = &monitor.place.id;
        return Err(Refusal::of(
            Kind::NotRunning,
            format!("Container {id} is paused, unpause the container before exec"),
        ));
    }
    let id = match wish.id.is_empty() {
        true => new_id()?,
        false => wish.id,
    };
    let terminal = wish.process["terminal"].as_bool().unwrap_or_default();
    let shape = Shape {
        terminal,
        stdin: wish.stdin,
        output: wish.stdout || wish.stderr,
    };
    let command = words_of(&wish.process);
    let told = |action: &str| {
        monitor.tell(format!("{action}: {command}"), &[("execID", id.clone())]);
    };
    let (given, ends) = io::make(shape)?;
    let given = Rc::new(given);
    let wanted = Wanted {
        terminal,
        given: Some(Rc::clone(&given)),
        ..Wanted::default()
    };
    let process = completed(wish.process, wish.size);
    container.add_exec(&id, wanted, process.to_string().into_bytes())?;
    told("exec_create");
    let pid = match container.start(&id, None).await {
        Ok(pid) => pid,
        Err(e) => {
            let message = e.to_string();
            // It never ran: there is nothing to see to.
            let _ = container.delete(&id, None).await;
            let kind = match e.kind() {
                shim::error::Kind::FailedPrecondition => Kind::NotRunning,
                _ => Kind::of_start(&message).0,
            };
            return Err(Refusal::of(kind, message));
        }
    };
    monitor.change(|state| state.execs.push(id.clone()));
    told("exec_start");
    io.begin(&monitor.on, &given, ends)?;
    Ok(Running { id, pid, container })
}

/// Waits for its end: its exit code, once its output has been read.
pub async fn see_to_end(monitor: &Rc<Monitor>, running: &Running, io: &Io) -> i32 {
    let exited = running.container.wait(&running.id).await;
    let code = exited.map_or(255, |e| e.code as i32);
    io.finish(&monitor.on).await;
    // With the container's own end it may be gone already.
    let _ = running.container.delete(&running.id, None).await;
    monitor.change(|state| state.execs.retain(|id| *id != running.id));
    let attributes = [("execID", running.id.clone()), ("exitCode", code.to_string())];
    monitor.tell("exec_die", &attributes);
    code
}

/// It must not inherit the monitor's own score, and its terminal has to have its size before it looks.
fn completed(mut process: Value, size: Option<Size>) -> Value {
    if let Some(fields) = process.as_object_mut() {
        fields.entry("oomScoreAdj").or_insert(json!(0));
        if let Some(Size { rows, columns }) = size {
            fields.insert("consoleSize".into(), json!({ "height": rows, "width": columns }));
        }
    }
    process
}

fn words_of(process: &Value) -> String {
    let args = process["args"].as_array();
    let words: Vec<&str> = args.into_iter().flatten().filter_map(Value::as_str).collect();
    words.join(" ")
}

fn new_id() -> Result<String, Refusal> {
    let bytes: [u8; 32] = sys::random::bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
