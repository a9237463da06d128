//! What RUN sees beside the root: secrets, agents, caches, memory, other trees.

use std::path::Path;
use std::process::{Command, Stdio};

use conformance::command;

use crate::case::{Case, Done, Need, Scene, cached, case, has, is, lacks, soon, was_cached};
use crate::lab::Subject;

const SECRET: &str = "correct-horse-battery-staple-4711";

pub fn cases() -> Vec<Case> {
    vec![
        case("secret.nowhere", &[], secret_is_nowhere),
        case("secret.options", &[Need::NotBuildah], |s| {
            s.file("s", SECRET)?;
            s.dockerfile(
                "FROM tiny
RUN --mount=type=secret,id=s stat -c '%a %u:%g' /run/secrets/s >/seen
RUN --mount=type=secret,id=s,target=/etc/deep/secret,mode=0440,uid=5,gid=6 stat -c '%a %u:%g' /etc/deep/secret >>/seen
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent && echo absent >>/seen
",
            )?;
            s.build("--secret id=s,src=s -t secret-options .")?;
            s.shows("secret-options", "cat /seen", "400 0:0\n440 5:6\nabsent")
        }),
        case("secret.variable", &[Need::Brig], |s| {
            s.dockerfile(
                "FROM tiny\nRUN --mount=type=secret,id=TOKEN,env=TOKEN test \"$TOKEN\" = word && echo right >/seen\n\
                 RUN --mount=type=secret,id=TOKEN test \"$(cat /run/secrets/TOKEN)\" = word\n",
            )?;
            s.must("TOKEN=word docker build --secret id=TOKEN -t secret-env .")?;
            s.must("OTHER=word docker build --no-cache --secret id=TOKEN,env=OTHER -t secret-env .")?;
            s.shows("secret-env", "cat /seen; echo [$TOKEN]", "right\n[]")
        }),
        case("secret.change-is-no-change", &[], |s| {
            s.dockerfile("FROM tiny\nRUN --mount=type=secret,id=s echo once\n")?;
            s.file("s", "one")?;
            s.build("--secret id=s,src=s -t secret-cache .")?;
            s.file("s", "two")?;
            let told = s.build("--secret id=s,src=s -t secret-cache .")?;
            is("steps from the cache", cached(&told) >= 1, true)
        }),
        case("ssh.agent", &[Need::Program("ssh-agent"), Need::NotBuildah], ssh),
        case("ssh.long-path", &[Need::Brig, Need::Program("ssh-agent")], |s| {
            // An address of a socket has 108 bytes, and stores may lie deeper.
            let root = format!("BRIG_ROOT=$PWD/{}/store", "deep".repeat(30));
            s.must("ssh-keygen -q -t ed25519 -N '' -f key && docker save -o tiny.tar tiny")?;
            s.must(&format!("{root} docker load -q -i tiny.tar"))?;
            s.dockerfile("FROM tiny\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK\n")?;
            s.must(&format!("{root} docker build --ssh default=key ."))
                .map(drop)
        }),
        case("ssh.absent", &[Need::NotBuildah], |s| {
            s.refuses("FROM tiny\nRUN --mount=type=ssh,required=true true\n", &["ssh"])?;
            s.builds(
                "ssh-absent",
                "FROM tiny\nRUN --mount=type=ssh echo [$SSH_AUTH_SOCK] >/seen\n",
            )?;
            Ok(())
        }),
        case("cache-mount.shared", &[Need::NotBuildah], |s| {
            let step = |word: &str| {
                format!(
                    "FROM tiny\nRUN --mount=type=cache,target=/c,id=shared-case echo {word} >>/c/log; cp /c/log /log\n"
                )
            };
            s.builds("cm1", &step("one"))?;
            s.builds("cm2", &step("two"))?;
            // Not one byte of it is in a layer, and what is in it makes no other step.
            s.shows("cm2", "cat /log; ls -A /c 2>/dev/null; true", "one\ntwo")?;
            let told = s.builds("cm2", &step("two"))?;
            was_cached(&told, "RUN --mount=type=cache", true)?;
            s.builds(
                "cm3",
                "FROM tiny\nRUN --mount=type=cache,target=/c,id=another-case ls -A /c | wc -l >/n\n",
            )?;
            s.shows("cm3", "cat /n", "0")
        }),
        case("cache-mount.options", &[Need::NotBuildah], |s| {
            s.builds(
                "cm-options",
                "FROM tiny
RUN --mount=type=cache,target=/c,id=options-case,mode=0700,uid=5,gid=6 stat -c '%a %u:%g' /c >/seen; echo kept >/c/f
RUN --mount=type=cache,target=/c,id=options-case,mode=0700,uid=5,gid=6,ro cat /c/f >>/seen; touch /c/g 2>/dev/null || echo read-only >>/seen
RUN --mount=type=cache,target=/d,id=from-case,from=full,source=/data cat /d/seed >>/seen
",
            )?;
            s.shows(
                "cm-options",
                "cat /seen",
                "700 5:6\nkept\nread-only\nfrom the image",
            )
        }),
        case("cache-mount.locked", &[Need::NotBuildah], |s| busy(s, "locked")),
        case("cache-mount.private", &[Need::NotBuildah], |s| busy(s, "private")),
        case("mount.bind", &[Need::NotBuildah], |s| {
            s.file("d/f", "from the context\n")?;
            s.builds(
                "bound",
                "FROM tiny AS other
RUN echo from a stage >/x
FROM tiny
RUN --mount=target=/m cat /m/d/f >/seen; touch /m/d/new 2>/dev/null || echo read-only >>/seen
RUN --mount=type=bind,source=d,target=/m,rw echo written >/m/w && cat /m/w >>/seen
RUN --mount=source=d,dst=/m ls /m >>/seen
RUN --mount=from=other,source=/x,target=/y cat /y >>/seen
RUN --mount=from=full,source=/data,target=/z cat /z/seed >>/seen
",
            )?;
            s.shows(
                "bound",
                "cat /seen; ls /m 2>/dev/null; true",
                "from the context\nread-only\nwritten\nf\nfrom a stage\nfrom the image",
            )?;
            is("the context", s.must("ls d")?, "f")
        }),
        case("mount.bind-in-the-key", &[Need::NotBuildah], |s| {
            // buildah once took a changed file below a bind mount from the cache.
            let text = "FROM tiny\nRUN --mount=source=d,target=/m cat /m/f >/seen\n";
            s.file("d/f", "one\n")?;
            s.file("unused", "one\n")?;
            s.builds("bind-key", text)?;
            s.file("unused", "two\n")?;
            was_cached(&s.builds("bind-key", text)?, "RUN --mount=source=d", true)?;
            s.file("d/f", "two\n")?;
            s.builds("bind-key", text)?;
            s.shows("bind-key", "cat /seen", "two")
        }),
        case("mount.tmpfs", &[Need::NotBuildah], |s| {
            s.builds(
                "tmpfs",
                "FROM tiny\nRUN --mount=type=tmpfs,target=/t stat -f -c %T /t >/seen && echo x >/t/x\n",
            )?;
            s.shows("tmpfs", "cat /seen; ls -A /t 2>/dev/null; true", "tmpfs")?;
            if s.is_brig() {
                s.builds(
                    "tmpfs",
                    "FROM tiny\nRUN --mount=type=tmpfs,target=/t,size=1m df -k /t | awk 'NR == 2 {print $2}' >/seen\n",
                )?;
                s.shows("tmpfs", "cat /seen", "1024")?;
            }
            Ok(())
        }),
        case("run.environment", &[Need::NotBuildah], |s| {
            s.builds(
                "run-env",
                "FROM tiny\nENV E=env\nARG A=arg\nRUN hostname >/seen; id -u >>/seen; echo $E $A $PATH >>/seen; \
                 sh -c \"echo buildkitsandbox >/proc/sys/kernel/hostname\" 2>/dev/null || echo masked >>/seen\nRUN chmod 1777 /tmp\nUSER guest\n\
                 RUN id -un >/tmp/who; pwd >>/tmp/who\n",
            )?;
            // BuildKit of then leaves /proc/sys as it is.
            let masked = if s.is_brig() { "masked\n" } else { "" };
            s.shows(
                "run-env",
                "cat /seen /tmp/who",
                &format!(
                    "buildkitsandbox\n0\nenv arg /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n{masked}guest\n/"
                ),
            )
        }),
        case("run.hostname-file", &[Need::NotBuildah], |s| {
            // It is the image's: images of whole machines are made with Dockerfiles.
            s.builds(
                "hostname-file",
                "FROM tiny AS made\nRUN mkdir -p /etc && echo box >/etc/hostname\nRUN cat /etc/hostname >/seen\n\
                 FROM tiny\nCOPY --from=made /etc/hostname /seen /of/\n",
            )?;
            s.shows("hostname-file", "cat /of/hostname /of/seen", "box\nbox")
        }),
        case("mount.of-nothing", &[Need::NotBuildah], |s| {
            // A stage of scratch that nothing was put into is an empty directory.
            s.builds(
                "of-nothing",
                "FROM scratch AS nothing\nFROM tiny\nCOPY --from=nothing / /copied/\n\
                 RUN --mount=type=bind,from=nothing,target=/m ls -A /m | wc -l >/seen\n\
                 RUN --mount=type=bind,from=scratch,target=/m ls -A /m | wc -l >>/seen\n\
                 RUN --mount=type=cache,from=nothing,target=/m,id=of-nothing,mode=0750 ls -A /m | wc -l >>/seen; ls -A /copied | wc -l >>/seen\n",
            )?;
            s.shows("of-nothing", "cat /seen", "0\n0\n0\n0")?;
            s.refuses(
                "FROM scratch AS nothing\nFROM tiny\nCOPY --from=nothing /absent /\n",
                &["/absent", "not found"],
            )
        }),
        case("run.no-place-stays", &[], |s| {
            // Files that a container gets from its engine are none of the layer.
            s.builds(
                "places-run",
                "FROM scratch\nCOPY --from=tiny /bin /bin\nRUN [\"/bin/touch\", \"/m\"]\n",
            )?;
            s.must("docker save -o saved.tar places-run && mkdir saved && tar xf saved.tar -C saved")?;
            let layers = s.must(
                "cd saved && python3 -c 'import json, tarfile
for m in json.load(open(\"manifest.json\")):
    print(*[e.name.strip(\"/\") for e in tarfile.open(m[\"Layers\"][-1])])'",
            )?;
            let mut names: Vec<&str> = layers.split_whitespace().collect();
            // Docker's builders leave the places of their mounts in a root that had none.
            if !s.is_brig() {
                names.retain(|name| {
                    !["dev", "proc", "sys", "etc"].contains(&name.split('/').next().unwrap_or_default())
                });
            }
            is("the layer", names.join(" "), "m")
        }),
    ]
}

/// A secret that RUN used is in no layer, not in the history, and in no file of the store.
fn secret_is_nowhere(s: &Scene) -> Done {
    s.file("secret.txt", SECRET)?;
    s.file(".dockerignore", "secret.txt\n")?;
    s.dockerfile(
        "FROM tiny
RUN --mount=type=secret,id=s test \"$(cat /run/secrets/s)\" = correct-horse-battery-staple-$((4700 + 11)) && echo used >/used
COPY . /context/
",
    )?;
    let told = s.build("--secret id=s,src=secret.txt -t secretive .")?;
    lacks("what was told", &told, SECRET)?;
    s.shows(
        "secretive",
        "cat /used; find /run -type f 2>/dev/null; true",
        "used",
    )?;
    lacks("history", &s.must("docker history --no-trunc secretive")?, SECRET)?;
    lacks("inspect", &s.must("docker image inspect secretive")?, SECRET)?;
    s.must("docker save -o saved.tar secretive")?;
    // The store of whoever is judged: every file that is newer, compressed ones unpacked.
    let places = match s.lab.subject {
        Subject::Brig => format!("{} /run/brig", s.lab.store().display()),
        Subject::Docker => format!("{}/docker", s.lab.dir.display()),
        Subject::Buildah => format!("{}/podman", s.lab.dir.display()),
    };
    let found = s.sh(&format!(
        "grep -laF -e {SECRET} saved.tar; find {places} -type f -newer secret.txt -size -20M 2>/dev/null | while read -r f; do \
           grep -qaF -e {SECRET} \"$f\" && echo \"$f\"; zcat \"$f\" 2>/dev/null | grep -qaF -e {SECRET} && echo \"packed in $f\"; \
         done; true"
    ))?;
    is("files with the secret", found.stdout, "")
}

fn ssh(s: &Scene) -> Done {
    let socket = s.dir.join("agent.sock");
    s.must("ssh-keygen -q -t ed25519 -N '' -C the-key-of-the-case -f key")?;
    let mut agent = Command::new("ssh-agent");
    agent
        .args(["-D", "-a"])
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut agent = agent.spawn().map_err(|e| format!("ssh-agent: {e}"))?;
    let played = with_agent(s, &socket);
    let ended = agent.kill().and_then(|()| agent.wait());
    ended.map_err(|e| format!("ssh-agent: {e}"))?;
    played
}

/// Asks an agent for its keys, in the words of its protocol: ssh-add is not in the image.
const ASK: &str = "import os, socket
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ['SSH_AUTH_SOCK'])
s.send(bytes([0, 0, 0, 1, 11]))
print(s.recv(4096)[-19:])
";

fn with_agent(s: &Scene, socket: &Path) -> Done {
    command::until("the agent listens", soon(), || socket.exists())?;
    let agent = format!("SSH_AUTH_SOCK={}", socket.display());
    s.must(&format!("{agent} ssh-add -q key"))?;
    s.dockerfile(
        "FROM tiny
RUN --mount=type=ssh echo $SSH_AUTH_SOCK >/seen; stat -c '%a %u:%g' $SSH_AUTH_SOCK >>/seen
RUN --mount=type=ssh test -S $SSH_AUTH_SOCK
RUN --mount=type=ssh,id=other,target=/tmp/a.sock,mode=0666,uid=5,gid=6 stat -c '%a %u:%g' /tmp/a.sock >>/seen
",
    )?;
    s.told(&format!(
        "{agent} docker build {} --ssh default --ssh other={} -t agent .",
        s.plain(),
        socket.display()
    ))?;
    s.shows(
        "agent",
        "cat /seen",
        "/run/buildkit/ssh_agent.0\n600 0:0\n666 5:6",
    )?;
    s.file("ask.py", ASK)?;
    s.dockerfile("FROM python\nCOPY ask.py /\nRUN --mount=type=ssh python3 /ask.py >/seen\n")?;
    s.told(&format!(
        "{agent} docker build {} --ssh default -t agent .",
        s.plain()
    ))?;
    has(
        "what the agent said",
        &s.inside("agent", "cat /seen")?,
        "the-key-of-the-case",
    )?;
    if s.is_brig() {
        // A key in a file gets an agent of its own.
        s.must("docker build --no-cache --ssh default=key -t agent .")?;
        has("what the agent said", &s.inside("agent", "cat /seen")?, "b'")?;
    }
    Ok(())
}

/// Two builds at once whose steps bear nobody else in their cache: one waits for the other, or has another one.
fn busy(s: &Scene, sharing: &str) -> Done {
    for n in 1..=2 {
        s.file(
            &format!("D{n}"),
            &format!(
                "FROM tiny\nRUN --mount=type=cache,target=/c,id={sharing}-case,sharing={sharing} \
                 test ! -e /c/busy && touch /c/busy && sleep 1 && rm /c/busy && echo {n}\n"
            ),
        )?;
    }
    let one = |n: usize| {
        format!(
            "{{ docker build {} -f D{n} . >out{n} 2>&1 || {{ cat out{n}; touch failed; }}; }} &",
            s.plain()
        )
    };
    let o = s.sh(&format!("{} {} wait; test ! -e failed", one(1), one(2)))?;
    is(&o.stdout, o.code, 0)
}
