//! Exit codes and refusals of reference 1.1 and 1.2.
//!
//! May not: judge the words of a message beyond what programs look for.

use crate::case::{Case, Done, Need, Scene, case, has, is};

pub fn cases() -> Vec<Case> {
    vec![
        case("codes.own", &[], own),
        case("codes.signals", &[], signals),
        case("codes.not-found", &[], not_found),
        case("codes.not-executable", &[], not_executable),
        case("codes.stored", &[], stored),
        case("codes.name-conflict", &[], name_conflict),
        case("codes.usage", &[], usage),
        case("codes.exec", &[], exec),
        case("codes.wait", &[], wait),
        case("codes.empty-command", &[], empty_command),
        case("codes.explains-interpreter", &[Need::Brig], explains_interpreter),
        case(
            "codes.explains-architecture",
            &[Need::Brig],
            explains_architecture,
        ),
        case("codes.explains-deaf", &[Need::Brig], explains_deaf),
        case("codes.hints-name", &[Need::Brig], hints_name),
    ]
}

fn own(s: &mut Scene) -> Done {
    for code in [0, 1, 2, 42, 125, 126, 127, 255] {
        let o = s.sh(&format!("docker run --rm tiny sh -c 'exit {code}'"))?;
        is("exit code", o.code, code)?;
        is("output", o.stdout + &o.stderr, "")?;
    }
    Ok(())
}

fn signals(s: &mut Scene) -> Done {
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("HUP", 129)] {
        let o = s.sh(&format!(
            "docker run --rm ubuntu bash -c 'bash -c \"kill -{signal} \\$\\$\"; exit $?'"
        ))?;
        is(&format!("exit code after {signal} of a child"), o.code, code)?;
    }
    s.must("docker run -d --name box tiny sleep 600")?;
    s.must("docker kill box")?;
    is("wait", s.must("docker wait box")?, 137)
}

fn not_found(s: &mut Scene) -> Done {
    s.fails(
        "docker run --rm tiny nosuchprogram",
        127,
        &["executable file not found in $PATH"],
    )?;
    s.fails(
        "docker run --rm tiny /no/such/program",
        127,
        &["no such file or directory"],
    )?;
    // Only the exec itself finds out, and with Docker 20.10 that is after the start.
    let code = if s.is_docker() { 1 } else { 127 };
    s.fails("docker run --rm tiny lost", code, &["no such file or directory"])?;
    s.fails(
        "docker run --rm --entrypoint absent tiny",
        127,
        &["executable file not found"],
    )
}

fn not_executable(s: &mut Scene) -> Done {
    s.fails("docker run --rm tiny /bin/plain", 126, &["permission denied"])?;
    s.fails(
        "docker run --rm tiny /etc",
        126,
        &["is a directory", "permission denied"],
    )?;
    let o = s.sh("docker run --rm tiny foreign")?;
    has("stderr", &o.stderr, "exec format error")
}

fn stored(s: &mut Scene) -> Done {
    for (name, program, code) in [("lost1", "nosuch", 127), ("plain1", "/bin/plain", 126)] {
        s.sh(&format!("docker run --name {name} tiny {program}"))?;
        is(
            "state",
            s.inspect(name, "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}")?,
            format!("created {code} false"),
        )?;
        is(
            "a reason is kept",
            s.inspect(name, "{{.State.Error}}")?.is_empty(),
            false,
        )?;
        s.fails(
            &format!("docker start {name}"),
            1,
            &["failed to start containers: "],
        )?;
    }
    Ok(())
}

fn name_conflict(s: &mut Scene) -> Done {
    let id = s.idle("box", "")?;
    s.fails(
        "docker run --name box tiny true",
        125,
        &[&format!(
            "Conflict. The container name \"/box\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
        )],
    )?;
    s.fails(
        "docker create --name box tiny true",
        1,
        &["is already in use by container"],
    )?;
    s.fails(
        "docker run --name .bad tiny true",
        125,
        &["Invalid container name (.bad), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"],
    )?;
    s.fails(
        "docker run --name x tiny true",
        125,
        &["Invalid container name (x)"],
    )
}

fn usage(s: &mut Scene) -> Done {
    s.fails("docker run", 1, &["requires at least 1 argument"])?;
    s.fails("docker start", 1, &["requires at least 1 argument"])?;
    s.fails("docker rename one", 1, &["requires exactly 2 arguments"])?;
    s.fails("docker ps extra", 1, &["accepts no arguments"])?;
    s.fails("docker run --nonsense tiny", 125, &["unknown flag: --nonsense"])?;
    s.fails("docker ps --nonsense", 125, &["unknown flag: --nonsense"])?;
    s.fails(
        "docker stop -t x box",
        125,
        &["invalid argument \"x\" for \"-t, --time"],
    )?;
    s.fails("docker nonsense", 1, &["nonsense"])
}

fn exec(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    is("own", s.sh("docker exec box sh -c 'exit 33'")?.code, 33)?;
    is("killed", s.sh("docker exec box sh -c 'kill -KILL $$'")?.code, 137)?;
    is(
        "not found",
        s.sh("docker exec box nosuch")?.code,
        if s.is_docker() { 126 } else { 127 },
    )?;
    is("not executable", s.sh("docker exec box /bin/plain")?.code, 126)?;
    is(
        "absent directory",
        s.sh("docker exec -w /absent box true")?.code != 0,
        true,
    )
}

fn wait(s: &mut Scene) -> Done {
    s.must("docker run -d -i --name one tiny sh -c 'read line; exit 3'")?;
    s.must("docker run -d --name two tiny sh -c 'exit 4'")?;
    let o = s.must("docker wait two one & printf 'go\\n' | docker attach one; wait")?;
    is("codes", o, "4\n3")?;
    is("of those that ended", s.must("docker wait one two")?, "3\n4")?;
    s.fails("docker wait absent", 1, &["No such container: absent"])
}

fn empty_command(s: &mut Scene) -> Done {
    s.fails("docker run nothing", 125, &["No command specified"])?;
    s.fails("docker create nothing", 1, &["No command specified"])
}

fn explains_interpreter(s: &mut Scene) -> Done {
    let o = s.sh("docker run --rm tiny lost")?;
    has("stderr", &o.stderr, "nosuchinterpreter")
}

fn explains_architecture(s: &mut Scene) -> Done {
    let o = s.sh("docker run --rm tiny foreign")?;
    has("stderr", &o.stderr.to_lowercase(), "risc")
}

fn explains_deaf(s: &mut Scene) -> Done {
    s.must("docker run -d --name deaf tiny sleep 600")?;
    let o = s.sh("docker stop -t 1 deaf")?;
    is("stdout", &o.stdout, "deaf\n")?;
    has("stderr", &o.stderr, "--init")
}

fn hints_name(s: &mut Scene) -> Done {
    let o = s.sh("docker run -name box tiny true")?;
    has("stderr", &o.stderr, "--name")
}
