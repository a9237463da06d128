//! Where a container's input comes from and its output goes to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use conformance::messages as m;
use conformance::patience;
use serde_json::json;

use super::{Case, Done, case};
use crate::command;
use crate::scene::{Container, Reader, Scene, process, same, soon, write, writer};

pub fn cases() -> Vec<Case> {
    vec![
        case("io.fifos", |s| {
            let (c, out, err) = piped(s, "cat; echo done >&2; exit 3", true)?;
            c.start()?;
            let mut keyboard = writer(&s.dir.join("in"))?;
            write(&mut keyboard, "some text\n")?;
            out.expect("some text\n")?;
            drop(keyboard);
            // The shim holds the input open for a client who comes back.
            let state = c.state("")?;
            same("it waits for more", &state.status, &m::status::RUNNING)?;
            close_input(&c, "")?;
            same("the exit status", &c.wait("")?, &3)?;
            c.delete("")?;
            same("stdout", out.to_end(soon())?.as_str(), "some text\n")?;
            same("stderr", err.to_end(soon())?.as_str(), "done\n")?;
            s.shut_down(&c.task)
        }),
        case("io.output-ends-with-the-container", |s| {
            // Also before anybody deletes it: a client waits for the end of the output.
            let (c, out, err) = piped(s, "echo text", false)?;
            c.start()?;
            c.wait("")?;
            same("stdout", out.to_end(soon())?.as_str(), "text\n")?;
            err.to_end(soon())?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("io.client-comes-back", |s| {
            let (c, out, err) = piped(s, "while :; do echo tick; sleep 0.05; done", false)?;
            c.start()?;
            out.expect("tick\ntick\n")?;
            drop((out, err));
            let again = Reader::of(&s.dir.join("out"))?;
            again.expect("tick\ntick\ntick\n")?;
            same("the state", &c.state("")?.status, &m::status::RUNNING)?;
            c.finish(s)?;
            again.to_end(soon()).map(drop)
        }),
        case("io.nobody-reads", |s| {
            // A full FIFO stops the container's writing, and nothing else.
            let (c, out, err) = piped(s, "head -c 1000000 /dev/zero; exit 2", false)?;
            drop((out, err));
            c.start()?;
            c.exec("probe", "exit 4", |_| {})?;
            c.start_exec("probe")?;
            same("the exit status", &c.wait("probe")?, &4)?;
            c.delete("probe")?;
            let asked = Instant::now();
            c.state("")?;
            same(
                "State answers within 2 s",
                &(asked.elapsed() < patience::seconds(2)),
                &true,
            )?;
            let out = Reader::of(&s.dir.join("out"))?;
            same("the exit status", &c.wait("")?, &2)?;
            same("all of it", &out.to_end(soon())?.len(), &1_000_000)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("io.much", |s| {
            const LENGTH: usize = 64 << 20;
            let (c, out, _err) = piped(s, &format!("head -c {LENGTH} /dev/zero"), false)?;
            c.start()?;
            c.wait("")?;
            c.delete("")?;
            command::until("all of it has come", patience::seconds(30), || out.has_ended())?;
            same("the length", &out.length(), &LENGTH)?;
            s.shut_down(&c.task)
        }),
        case("io.much-input", |s| {
            let (c, out, _err) = piped(s, "wc -c", true)?;
            c.start()?;
            let mut keyboard = std::fs::File::options()
                .write(true)
                .open(s.dir.join("in"))
                .map_err(|e| e.to_string())?;
            for _ in 0..64 {
                write(&mut keyboard, &"x".repeat(1 << 16))?;
            }
            drop(keyboard);
            close_input(&c, "")?;
            c.wait("")?;
            c.delete("")?;
            same(
                "what it counted",
                out.to_end(soon())?.trim(),
                (64 << 16).to_string().as_str(),
            )?;
            s.shut_down(&c.task)
        }),
        case("io.null", |s| {
            let c = s.boot(
                "box",
                "for n in 0 1 2; do [ $(readlink /proc/$$/fd/$n) = /dev/null ] || exit 9; done; exit 3",
            )?;
            c.start()?;
            same("the exit status", &c.wait("")?, &3)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("io.exec-fifos", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let (input, output, errors) = (s.fifo("exec-in")?, s.fifo("exec-out")?, s.fifo("exec-err")?);
            let (out, _err) = (Reader::of(&output)?, Reader::of(&errors)?);
            c.exec("probe", "cat; exit 5", |request| {
                request.stdin = input.display().to_string();
                request.stdout = output.display().to_string();
                request.stderr = errors.display().to_string();
            })?;
            c.start_exec("probe")?;
            let mut keyboard = writer(&input)?;
            write(&mut keyboard, "typed\n")?;
            drop(keyboard);
            close_input(&c, "probe")?;
            same("the exit status", &c.wait("probe")?, &5)?;
            c.delete("probe")?;
            same("stdout", out.to_end(soon())?.as_str(), "typed\n")?;
            c.finish(s)
        }),
        case("io.stdout-alone", |s| {
            let output = s.fifo("out")?;
            let out = Reader::of(&output)?;
            let c = s.boot_with(
                "box",
                "echo out; echo err >&2; exit 3",
                |_| {},
                |request| request.stdout = output.display().to_string(),
            )?;
            c.start()?;
            same("the exit status", &c.wait("")?, &3)?;
            c.delete("")?;
            same("stdout", out.to_end(soon())?.as_str(), "out\n")?;
            s.shut_down(&c.task)
        }),
        case("io.lingering-child", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let (output, errors) = (s.fifo("exec-out")?, s.fifo("exec-err")?);
            let (out, _err) = (Reader::of(&output)?, Reader::of(&errors)?);
            c.exec("probe", "echo text; sleep 601 & exit 0", |request| {
                request.stdout = output.display().to_string();
                request.stderr = errors.display().to_string();
            })?;
            c.start_exec("probe")?;
            same("the exit status", &c.wait("probe")?, &0)?;
            out.expect("text\n")?;
            let (asked, limit) = (Instant::now(), patience::seconds(15));
            c.task
                .send("Delete", &crate::scene::target("box", "probe"))?
                .take::<m::DeleteResponse>(limit)?;
            let took = asked.elapsed();
            same(
                &format!("Delete took {took:?}, and some 10 s are allowed"),
                &(took < patience::seconds(13)),
                &true,
            )?;
            c.finish(s)?;
            out.to_end(soon()).map(drop)
        }),
        case("io.file", |s| {
            let file = s.dir.join("logs/deep/box.log");
            let uri = format!("file://{}", file.display());
            let c = s.boot_with(
                "box",
                "echo out; echo err >&2",
                |_| {},
                |request| {
                    request.stdout = uri.clone();
                    request.stderr = uri.clone();
                },
            )?;
            c.start()?;
            c.wait("")?;
            c.delete("")?;
            let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            same("the file", &lines[..], &["err", "out"][..])?;
            s.shut_down(&c.task)
        }),
        case("io.binary", |s| {
            let uri = logger(
                s,
                "cat <&3 >$D/out 5>&- & cat <&4 >$D/err 5>&- & env >$D/env; echo \"$@\" >$D/words; exec 5>&-; wait",
            )?;
            let c = s.boot_with(
                "box",
                "echo out; echo err >&2",
                |_| {},
                |request| {
                    request.stdout = uri.clone();
                    request.stderr = uri.clone();
                },
            )?;
            c.start()?;
            c.wait("")?;
            c.delete("")?;
            let read = |name: &str| fs::read_to_string(s.dir.join(name)).map_err(|e| format!("{name}: {e}"));
            same("stdout", read("out")?.as_str(), "out\n")?;
            same("stderr", read("err")?.as_str(), "err\n")?;
            same("the words", read("words")?.as_str(), "key value\n")?;
            let env = read("env")?;
            for word in ["CONTAINER_ID=box", "CONTAINER_NAMESPACE=played"] {
                same(
                    &format!("{env:?} has {word}"),
                    &env.lines().any(|line| line == word),
                    &true,
                )?;
            }
            same(
                "the daemon's variables are not passed on",
                &env.contains("TTRPC_ADDRESS"),
                &false,
            )?;
            s.shut_down(&c.task)
        }),
        case("io.binary-that-fails", |s| {
            let uri = logger(s, "exit 1")?;
            // A logger that ends is ready, too: the end of the pipe is all that is waited for.
            let c = s.boot_with(
                "box",
                "echo out; exit 4",
                |_| {},
                |request| {
                    request.stdout = uri.clone();
                    request.stderr = uri.clone();
                },
            )?;
            c.start()?;
            c.wait("")?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("io.binary-that-is-missing", |s| {
            let bundle = s.bundle("box", "true", |_| {})?;
            let task = s.dial(&s.start(&bundle)?)?;
            let mut request = s.creation(&bundle);
            request.stdout = "binary:///no/such/logger".into();
            request.stderr = request.stdout.clone();
            crate::scene::fails("Create", task.call::<m::PidResponse>("Create", &request))?;
            s.shut_down(&task)
        }),
        case("io.owner-of-the-pipes", |s| {
            let options = m::RuncOptions {
                io_uid: 1234,
                io_gid: 2345,
                ..s.options()
            };
            let (output, errors) = (s.fifo("out")?, s.fifo("err")?);
            let (out, _err) = (Reader::of(&output)?, Reader::of(&errors)?);
            let c = s.boot_with(
                "box",
                "stat -L -c %g /proc/self/fd/2",
                |_| {},
                |request| {
                    request.stdout = output.display().to_string();
                    request.stderr = errors.display().to_string();
                    request.options = Some(m::wrap("containerd.runc.v1.Options", &options));
                },
            )?;
            c.start()?;
            c.wait("")?;
            c.delete("")?;
            // The runtime gives the pipes to the user of the process; the group stays.
            same("the group", out.to_end(soon())?.as_str(), "2345\n")?;
            s.shut_down(&c.task)
        }),
        case("io.terminal", |s| {
            let (input, output) = (s.fifo("in")?, s.fifo("out")?);
            let out = Reader::of(&output)?;
            let script = "tty; trap 'stty size' WINCH; echo ready; while :; do read line && echo got-$line; [ \"$line\" = end ] && exit 5; done";
            let c = s.boot_with(
                "box",
                script,
                |config| config["process"]["terminal"] = json!(true),
                |request| {
                    request.terminal = true;
                    request.stdin = input.display().to_string();
                    request.stdout = output.display().to_string();
                },
            )?;
            c.start()?;
            out.expect("/dev/pts/0\r\nready\r\n")?;
            let resize = m::ResizeRequest {
                id: "box".into(),
                exec_id: String::new(),
                width: 100,
                height: 40,
            };
            c.task.call::<m::Empty>("ResizePty", &resize)?;
            let mut keyboard = writer(&input)?;
            write(&mut keyboard, "word\n")?;
            out.expect("got-word")?;
            out.expect("40 100")?;
            write(&mut keyboard, "end\n")?;
            same("the exit status", &c.wait("")?, &5)?;
            c.delete("")?;
            out.to_end(soon())?;
            s.shut_down(&c.task)
        }),
        case("io.exec-terminal", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let (input, output) = (s.fifo("exec-in")?, s.fifo("exec-out")?);
            let out = Reader::of(&output)?;
            let mut spec = process("tty; read line; stty size; exit 8");
            spec["terminal"] = json!(true);
            c.exec("probe", "", |request| {
                request.terminal = true;
                request.stdin = input.display().to_string();
                request.stdout = output.display().to_string();
                request.spec = Some(m::wrap_json("Process", &spec));
            })?;
            c.start_exec("probe")?;
            out.expect("/dev/pts/")?;
            let resize = m::ResizeRequest {
                id: "box".into(),
                exec_id: "probe".into(),
                width: 77,
                height: 33,
            };
            c.task.call::<m::Empty>("ResizePty", &resize)?;
            let mut keyboard = writer(&input)?;
            write(&mut keyboard, "\n")?;
            out.expect("33 77")?;
            same("the exit status", &c.wait("probe")?, &8)?;
            c.delete("probe")?;
            out.to_end(soon())?;
            c.finish(s)
        }),
        case("io.terminal-to-a-binary", |s| {
            let uri = logger(s, "cat <&3 >$D/out 5>&- & exec 5>&-; wait")?;
            let c = s.boot_with(
                "box",
                "tty; exit 5",
                |config| config["process"]["terminal"] = json!(true),
                |request| {
                    request.terminal = true;
                    request.stdout = uri.clone();
                },
            )?;
            c.start()?;
            same("the exit status", &c.wait("")?, &5)?;
            c.delete("")?;
            let text = fs::read_to_string(s.dir.join("out")).map_err(|e| e.to_string())?;
            same("the output", text.as_str(), "/dev/pts/0\r\n")?;
            s.shut_down(&c.task)
        }),
    ]
}

/// A created container with FIFOs for its output, and for its input if asked for.
fn piped(s: &Scene, script: &str, with_input: bool) -> Result<(Container, Reader, Reader), String> {
    let (output, errors) = (s.fifo("out")?, s.fifo("err")?);
    let readers = (Reader::of(&output)?, Reader::of(&errors)?);
    let input = if with_input {
        s.fifo("in")?.display().to_string()
    } else {
        String::new()
    };
    let c = s.boot_with(
        "box",
        script,
        |_| {},
        |request| {
            request.stdin = input;
            request.stdout = output.display().to_string();
            request.stderr = errors.display().to_string();
        },
    )?;
    Ok((c, readers.0, readers.1))
}

fn close_input(c: &Container, exec: &str) -> Done {
    let request = m::CloseIoRequest {
        id: c.id.clone(),
        exec_id: exec.to_owned(),
        stdin: true,
    };
    c.task
        .call::<m::Empty>("CloseIO", &request)
        .map(drop)
        .map_err(|e| format!("CloseIO: {e}"))
}

/// A logger program of one line of shell, as a URI. $D is the scene's directory.
fn logger(s: &Scene, line: &str) -> Result<String, String> {
    let path = s.dir.join("logger");
    let script = format!("#!/bin/sh\nD={}\nPATH=/usr/bin:/bin\n{line}\n", s.dir.display());
    fs::write(&path, script)
        .and_then(|()| fs::set_permissions(Path::new(&path), fs::Permissions::from_mode(0o755)))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(format!("binary://{}?key=value", path.display()))
}
