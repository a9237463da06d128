//! People at real terminals: run, exec, attach, detach.
//!
//! May not: play the terminal. The lines run below util-linux's `script`; tmux is where whole screens count.

use std::process::Command;

use conformance::command::{self, USUAL};
use conformance::terminal::Terminal;

use crate::case::{Case, Done, Scene, case, has, is, lacks, soon};

pub fn cases() -> Vec<Case> {
    vec![
        case("1.3.07-interactive", &[], interactive),
        case("1.3.07-size", &[], size),
        case("1.3.07-raw-mode", &[], raw_mode),
        case("1.3.07-interrupt", &[], interrupt),
        case("1.3.07-one-stream", &[], one_stream),
        case("1.3.21-create-start-attach", &[], create_start_attach),
        case("1.3.22-detach", &[], detach),
        case("1.3.22-detach-partial", &[], detach_partial),
        case("1.3.22-detach-keys", &[], detach_keys),
        case("1.3.22-detach-keys-configured", &[], detach_keys_configured),
        case("1.3.22-detach-from-exec", &[], detach_from_exec),
        case("1.3.23-start-by-id", &[], start_by_id),
        case("tty.attach-twice", &[], attach_twice),
        case("tty.exec-size", &[], exec_size),
        case("tty.signal-proxy", &[], signal_proxy),
        case("tty.stdin-ends", &[], stdin_ends),
        case("tty.tmux", &[], tmux),
    ]
}

fn interactive(s: &mut Scene) -> Done {
    let mut person = s.terminal("docker run -it --name box ubuntu")?;
    person.expect("# ", soon())?;
    person.send("test -t 0 && test -t 1 && test -t 2 && echo $TERM three'-'terminals\n")?;
    person.expect("xterm three-terminals", soon())?;
    person.send("exit 5\n")?;
    is("exit code", person.close(soon())?, 5)?;
    is(
        "state",
        s.inspect("box", "{{.State.Status}} {{.Config.Tty}} {{.Config.OpenStdin}}")?,
        "exited true true",
    )
}

/// Asks a shell at a terminal for its size until it is the wanted one, or for long enough.
fn until_size(person: &mut Terminal, wanted: &str) -> Done {
    let mut size = String::new();
    for _ in 0..100 {
        // Quotes, so that the typed line, which comes back too, is not the answer.
        person.send("echo si''ze=$(stty size | tr ' ' x)=\n")?;
        person.expect("size=", soon())?;
        size = person.expect("=", soon())?;
        if size == wanted {
            break;
        }
    }
    is("size", size, wanted)
}

/// Changes the size of a terminal, whose device it named first.
fn resize(device: &str, rows: &str, columns: &str) -> Done {
    let mut stty = Command::new("stty");
    stty.args(["-F", device.trim(), "rows", rows, "cols", columns]);
    command::run(&mut stty, "", USUAL)?.ok().map(|_| ())
}

fn size(s: &mut Scene) -> Done {
    let mut person = s.terminal("docker run --rm -it tiny")?;
    let device = person.expect("\n", soon())?;
    person.expect("# ", soon())?;
    until_size(&mut person, "40x100")?;
    resize(&device, "33", "77")?;
    until_size(&mut person, "33x77")?;
    person.send("exit\n")?;
    is("exit code", person.close(soon())?, 0)
}

fn raw_mode(s: &mut Scene) -> Done {
    // While it runs the terminal is raw; afterwards it is as before.
    let mut person = s.terminal("sh -c 'stty -g; docker run --rm -it tiny sh; stty -g; echo over'")?;
    let device = person.expect("\n", soon())?;
    let before = person.expect("\n", soon())?;
    person.expect("# ", soon())?;
    let mut stty = Command::new("stty");
    let during = command::run(stty.args(["-F", device.trim(), "-a"]), "", USUAL)?.ok()?;
    has("during", &during, "-icanon")?;
    has("during", &during, "-isig")?;
    person.send("exit\n")?;
    let shown = person.expect("over", soon())?;
    let after = shown
        .lines()
        .rev()
        .find(|line| line.contains(':'))
        .unwrap_or_default()
        .trim()
        .to_owned();
    is("settings", after, before.trim())
}

fn interrupt(s: &mut Scene) -> Done {
    let mut person = s.terminal("docker run --rm -it --name box ubuntu")?;
    person.expect("# ", soon())?;
    person.send("sleep 600\n")?;
    // Before the program has the terminal, the key would be the shell's.
    s.until("docker top box -o pid,args", "sleep 600")?;
    person.send("\x03")?;
    person.send("echo code=$?\n")?;
    person.expect("code=130", soon())?;
    person.send("exit 0\n")?;
    is("exit code", person.close(soon())?, 0)
}

fn one_stream(s: &mut Scene) -> Done {
    let mut person = s.terminal("docker run -it --name box tiny sh -c 'echo out; echo err >&2'")?;
    person.expect("out\r\nerr\r\n", soon())?;
    is("exit code", person.close(soon())?, 0)?;
    s.answers("docker logs box", 0, "out\r\nerr\r\n", "")?;
    // Without a terminal of its own, -t alone is no matter.
    s.prints("docker run --rm -t tiny echo alone", "alone\r\n")
}

fn create_start_attach(s: &mut Scene) -> Done {
    s.must("docker create -it --name container-test1 ubuntu:14.04")?;
    is(
        "status",
        s.must("docker ps -a --format '{{.Status}}'")?,
        "Created",
    )?;
    s.prints("docker start container-test1", "container-test1\n")?;
    let mut person = s.terminal("docker attach container-test1")?;
    person.send("\n")?;
    person.expect("# ", soon())?;
    person.send("exit\n")?;
    is("exit code", person.close(soon())?, 0)?;
    s.until_ended("container-test1")?;
    has(
        "status",
        &s.must("docker ps -a --format '{{.Status}}'")?,
        "Exited (0) ",
    )?;
    let mut person = s.terminal("docker start -ai container-test1")?;
    person.expect("# ", soon())?;
    person.send("exit 6\n")?;
    is("exit code of start -ai", person.close(soon())?, 6)
}

fn detach(s: &mut Scene) -> Done {
    let mut person = s.terminal("docker run -it --name box tiny")?;
    person.expect("# ", soon())?;
    person.send("word=kept\n")?;
    person.expect("# ", soon())?;
    person.send("\x10\x11")?;
    is("exit code of run", person.close(soon())?, 0)?;
    is("it runs on", s.inspect("box", "{{.State.Running}}")?, true)?;
    let mut person = s.terminal("docker attach box")?;
    person.send("echo $word' still'\n")?;
    person.expect("kept still", soon())?;
    person.send("\x10\x11")?;
    person.expect("read escape sequence", soon())?;
    is("exit code of attach", person.close(soon())?, 1)?;
    is("it runs on", s.inspect("box", "{{.State.Running}}")?, true)
}

fn detach_partial(s: &mut Scene) -> Done {
    let mut person = s.terminal(
        "docker run -it --rm --name box tiny sh -c 'stty raw -echo; echo ready; head -c 3 | od -An -tx1'",
    )?;
    person.expect("ready", soon())?;
    // The first key alone is held back until it is clear what it was.
    person.send("\x10a")?;
    person.send("b")?;
    let shown = person.expect("62", soon())?;
    has("the held key comes, too", &shown, "10 61")?;
    is("exit code", person.close(soon())?, 0)
}

fn detach_keys(s: &mut Scene) -> Done {
    let mut person = s.terminal("docker run -it --name box --detach-keys ctrl-x,q tiny")?;
    person.expect("# ", soon())?;
    // The usual keys are ordinary now; the shell swallows them.
    person.send("\x10\x11\n")?;
    person.expect("# ", soon())?;
    person.send("\x18q")?;
    is("exit code", person.close(soon())?, 0)?;
    is("it runs on", s.inspect("box", "{{.State.Running}}")?, true)?;
    let mut person = s.terminal("docker attach --detach-keys=ctrl-a box")?;
    person.send("\n")?;
    person.expect("# ", soon())?;
    person.send("\x01")?;
    is("exit code of attach", person.close(soon())?, 1)?;
    s.idle("plain", "")?;
    s.fails(
        "docker attach --detach-keys nonsense-key plain",
        1,
        &[
            "invalid detach keys",
            "unknown character",
            "unrecognized input header",
        ],
    )
}

fn detach_keys_configured(s: &mut Scene) -> Done {
    let dir = s.lab.home().join(".docker");
    let file = dir.join("config.json");
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&file, r#"{"detachKeys": "ctrl-e,e"}"#))
        .map_err(|e| format!("{}: {e}", file.display()))?;
    let played = || -> Done {
        let mut person = s.terminal("docker run -it --name box tiny")?;
        person.expect("# ", soon())?;
        person.send("\x05e")?;
        is("exit code", person.close(soon())?, 0)?;
        is("it runs on", s.inspect("box", "{{.State.Running}}")?, true)
    };
    let done = played();
    std::fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    done
}

fn detach_from_exec(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    let mut person = s.terminal("docker exec -it box sh")?;
    person.expect("# ", soon())?;
    person.send("\x10\x11")?;
    person.expect("read escape sequence", soon())?;
    is("exit code", person.close(soon())?, 1)?;
    // The shell is still there.
    has("processes", &s.must("docker top box")?, "sh")?;
    is("it runs on", s.inspect("box", "{{.State.Running}}")?, true)
}

fn start_by_id(s: &mut Scene) -> Done {
    let id = s.must("docker create -it ubuntu")?;
    let short: String = id.chars().take(12).collect();
    s.prints(&format!("docker start {short}"), &format!("{short}\n"))?;
    let mut person = s.terminal(&format!("docker exec -it {short} bash"))?;
    person.expect("# ", soon())?;
    person.send("exit 2\n")?;
    is("exit code", person.close(soon())?, 2)
}

fn attach_twice(s: &mut Scene) -> Done {
    s.must("docker run -dit --name box tiny")?;
    let mut one = s.terminal("docker attach box")?;
    one.send("\n")?;
    one.expect("# ", soon())?;
    let mut two = s.terminal("docker attach box")?;
    two.send("echo for' both'\n")?;
    two.expect("for both", soon())?;
    one.expect("for both", soon())?;
    one.send("exit 3\n")?;
    is("exit code of one", one.close(soon())?, 3)?;
    is("exit code of the other", two.close(soon())?, 3)
}

fn exec_size(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    let mut person = s.terminal("docker exec -it box sh")?;
    let device = person.expect("\n", soon())?;
    person.expect("# ", soon())?;
    until_size(&mut person, "40x100")?;
    resize(&device, "21", "55")?;
    until_size(&mut person, "21x55")?;
    person.send("exit 8\n")?;
    is("exit code", person.close(soon())?, 8)
}

fn signal_proxy(s: &mut Scene) -> Done {
    let script = "trap \"echo got; exit 9\" TERM; echo ready; while :; do sleep 0.1; done";
    let line = format!(
        "docker run --name box tiny sh -c '{script}' & pid=$!; \
         while ! docker logs box 2>/dev/null | grep -q ready; do :; done; kill -TERM $pid; wait $pid; echo code $?"
    );
    is("what was seen", s.must(&line)?, "ready\ngot\ncode 9")?;
    let line = line
        .replace("run --name box", "run --sig-proxy=false --name box2")
        .replace("logs box", "logs box2");
    let o = s.must(&line)?;
    lacks("without the proxy", &o, "got")?;
    is("it runs on", s.inspect("box2", "{{.State.Running}}")?, true)
}

fn stdin_ends(s: &mut Scene) -> Done {
    is(
        "cat ends with its input",
        s.hears("docker run --rm -i tiny cat", "a\nb\n")?.stdout,
        "a\nb\n",
    )?;
    let many = "0123456789abcdef\n".repeat(20_000);
    let o = s.hears("docker run --rm -i tiny sh -c 'cat; echo end'", &many)?;
    is("all of it comes back", o.stdout.len(), many.len() + 4)?;
    s.prints(
        "docker run --rm -a stderr tiny sh -c 'echo out; echo err >&2' 2>&1",
        "err\n",
    )
}

fn tmux(s: &mut Scene) -> Done {
    let socket = s.path("tmux");
    let names = s.lab.dir.join("bin");
    let tmux = |words: &[&str]| -> Result<String, String> {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&socket).args(["-f", "/dev/null"]).args(words);
        tmux.env("TERM", "xterm").env_remove("TMUX");
        command::run(&mut tmux, "", USUAL)?.ok()
    };
    let screen = |text: &str| {
        let mut last = String::new();
        command::until(&format!("the screen shows {text:?}"), soon(), || {
            last = tmux(&["capture-pane", "-p"]).unwrap_or_else(|e| e);
            last.contains(text)
        })
        .map_err(|e| format!("{e}; the screen:\n{last}"))
    };
    // The size comes after the start, and a change when the client hears of it: one asks again.
    let shows_size = |size: &str| {
        let mut shown = String::new();
        command::until(&format!("the size is {size}"), soon(), || {
            let typed = tmux(&["send-keys", "clear; stty size; echo agai'n'", "Enter"]);
            let screen = typed.and_then(|_| screen("\nagain").and_then(|()| tmux(&["capture-pane", "-p"])));
            shown = screen.unwrap_or_else(|e| e);
            shown.contains(&format!("{size}\nagain"))
        })
        .map_err(|e| format!("{e}; the screen:\n{shown}"))
    };
    let store = s.lab.store().display().to_string();
    let home = s.lab.home().display().to_string();
    let host = if s.is_docker() {
        conformance::docker::HOST
    } else {
        ""
    };
    let path = format!("{}:{}", names.display(), conformance::docker::usual_path());
    let shell = format!("exec env PATH={path} HOME={home} BRIG_ROOT={store} PS1='host> ' sh");
    tmux(&["new-session", "-d", "-x", "100", "-y", "30", &shell])?;
    let played = || -> Done {
        screen("host>")?;
        if !host.is_empty() {
            tmux(&["send-keys", &format!("export DOCKER_HOST={host}"), "Enter"])?;
        }
        tmux(&[
            "send-keys",
            "docker run -it --network host --name box ubuntu bash",
            "Enter",
        ])?;
        screen("root@")?;
        shows_size("30 100")?;
        tmux(&["resize-window", "-x", "90", "-y", "20"])?;
        shows_size("20 90")?;
        tmux(&["send-keys", "C-p"])?;
        tmux(&["send-keys", "C-q"])?;
        screen("host>")?;
        tmux(&["send-keys", "clear; docker attach box", "Enter"])?;
        // The screen was emptied and nothing was typed: the prompt is there because it was drawn again.
        screen("root@").map_err(|e| format!("the prompt after attach: {e}"))?;
        tmux(&["send-keys", "exit 4", "Enter"])?;
        screen("host>")?;
        tmux(&["send-keys", "echo co'de' $?", "Enter"])?;
        screen("code 4")
    };
    let done = played();
    let ended = tmux(&["kill-server"]).map(|_| ());
    done.and(ended)
}
