//! Files and steps that mean harm: nothing of the host is read or written, nothing hangs, nothing stays.

use conformance::command;

use crate::case::{Case, Done, Need, Scene, case, has, is, soon};
use crate::cases::crashes::{sleeping, swept};
use crate::liar;

/// What no build may ever see.
const OUTSIDE: &str = "/tmp/outside-of-every-build";

pub fn cases() -> Vec<Case> {
    vec![
        case("hostile.links-of-a-stage", &[Need::Brig], |s| {
            outside(s, |s| {
                s.refuses(
                    &format!(
                        "FROM tiny AS one\nRUN ln -s / /x\nFROM tiny\nCOPY --from=one /x{OUTSIDE} /stolen\n"
                    ),
                    &["not found"],
                )?;
                s.refuses(
                    &format!("FROM tiny AS one\nRUN ln -s /../../../..{OUTSIDE} /x\nFROM tiny\nRUN --mount=from=one,source=/x,target=/m cat /m\n"),
                    &[],
                )?;
                // Into a stage: all links end in it.
                s.file("f", "placed\n")?;
                s.builds(
                    "linked",
                    &format!("FROM tiny\nRUN mkdir -p /tmp && ln -s /../../../../../tmp /out\nCOPY f /out/outside-of-every-build\nRUN cat {OUTSIDE} >/seen\n"),
                )?;
                s.shows("linked", "cat /seen", "placed")
            })
        }),
        case("hostile.links-under-mounts", &[Need::Brig], |s| {
            outside(s, |s| {
                let before = s.must("cat /etc/hosts /etc/hostname | sha256sum; ls /etc | wc -l")?;
                s.dockerfile("FROM tiny\nRUN mv /etc /moved && ln -s /../../../../../../etc /etc\nRUN echo x >/etc/by-a-step; ls /etc\n")?;
                // Whether it works is not the question.
                s.sh("docker build --network none -t under .")?;
                is(
                    "the host",
                    s.must("cat /etc/hosts /etc/hostname | sha256sum; ls /etc | wc -l")?,
                    before,
                )
            })
        }),
        case("hostile.links-of-a-context", &[Need::Brig], |s| {
            outside(s, |s| {
                s.must(&format!(
                    "ln -s / all; ln -s {OUTSIDE} link; ln -s /etc/passwd Dockerfile.link"
                ))?;
                s.refuses(&format!("FROM tiny\nCOPY all{OUTSIDE} /stolen\n"), &["not found"])?;
                // A source that is a link means what it leads to, in the context; one in a directory stays a link.
                s.refuses("FROM tiny\nCOPY link /link\n", &["not found"])?;
                s.must("mkdir d && mv link d/")?;
                s.builds(
                    "kept",
                    "FROM tiny\nCOPY d /d\nRUN readlink /d/link >/seen; cat /d/link >>/seen 2>&1 || true\n",
                )?;
                s.shows(
                    "kept",
                    "head -n 1 /seen; grep -c secret /seen || true",
                    &format!("{OUTSIDE}\n0"),
                )
            })
        }),
        case("hostile.odd-dockerfiles", &[Need::Brig], |s| {
            for make in [
                "mkfifo Dockerfile",
                "mkdir Dockerfile",
                "ln -s /etc/passwd Dockerfile",
                "ln -s Dockerfile Dockerfile",
                "mknod Dockerfile c 1 5",
                "echo 'FROM tiny' >Dockerfile; mkfifo .dockerignore",
            ] {
                s.must(make)?;
                let o = s.sh("timeout 20 docker build .")?;
                is(&format!("{make}: {}", o.stderr), o.code, 1)?;
                s.must("rm -rf Dockerfile .dockerignore")?;
            }
            Ok(())
        }),
        case(
            "hostile.archive-as-context",
            &[Need::Brig, Need::Program("python3")],
            |s| {
                outside(s, |s| {
                    s.file("make.py", ARCHIVE)?;
                    for kind in ["up", "absolute", "through", "hard", "device"] {
                        s.must(&format!("python3 make.py {kind} >c.tar"))?;
                        let o = s.sh("timeout 60 docker build -t archived - <c.tar")?;
                        is(
                            &format!("{kind}: code of a build {}", o.stderr),
                            [0, 1].contains(&o.code),
                            true,
                        )?;
                        let seen = match o.code {
                            0 => s.must(
                                "docker run --rm --network none archived find /c -type f -exec cat {} +",
                            )?,
                            _ => o.stderr,
                        };
                        is(&format!("{kind}: {seen}"), seen.contains("secret"), false)?;
                        is(kind, s.must("ls /tmp | grep -c written || true")?, "0")?;
                    }
                    Ok(())
                })
            },
        ),
        case("hostile.registry", &[Need::Brig], |s| {
            let at = liar::start()?;
            for way in liar::WAYS {
                // Of a cache nothing depends on what it says.
                s.dockerfile(&format!("FROM tiny\nRUN echo lied to >/f # {way}\n"))?;
                let told = s.told(&format!(
                    "timeout 60 docker build --progress plain --cache-from {at}/{way}:1 -t lied-to ."
                ))?;
                has(&format!("told of the cache that is {way}"), &told, "127.0.0.1")?;
                s.must("docker rmi -f lied-to && docker builder prune -af")?;
                s.dockerfile(&format!("FROM {at}/{way}:1\nRUN true\n"))?;
                let o = s.sh("timeout 60 docker build -t lied-to .")?;
                is(
                    &format!("code of a build from what is {way}: {}", o.stderr),
                    o.code,
                    1,
                )?;
            }
            swept(s)
        }),
        case("hostile.background", &[Need::Brig], |s| {
            s.builds(
                "background",
                "FROM tiny\nRUN (trap '' HUP TERM; setsid sleep 1004 >/dev/null 2>&1 &) ; sleep 1004 & echo x >/f\nRUN cat /f\n",
            )?;
            command::until("the end of what it left running", soon(), || !sleeping("1004"))
        }),
        case("hostile.mounts-in-run", &[Need::Brig], |s| {
            s.builds(
                "no-mounts",
                "FROM tiny\nRUN mount -t tmpfs x /mnt 2>/dev/null && echo mounted >/said || echo refused >/said\n",
            )?;
            s.shows("no-mounts", "cat /said", "refused")?;
            // Who is allowed to mount, mounts for itself: what is below is what the layer has.
            s.dockerfile(
                "# syntax=docker/dockerfile:1\nFROM tiny\nRUN --security=insecure mkdir -p /d && echo below >/d/f && mount -t tmpfs x /d && echo above >/d/f; echo done >/said\nRUN cat /d/f >/seen\n",
            )?;
            s.build("--allow security.insecure -t own-mounts .")?;
            s.shows("own-mounts", "cat /said /seen", "done\nbelow")
        }),
        case("hostile.deep-and-odd-names", &[Need::Brig], |s| {
            // Two halves, one below the other: as a whole it is longer than a path of one call may be.
            let half = vec!["0".repeat(100); 30].join("/");
            s.builds(
                "deep",
                &format!(
                    "FROM tiny AS one\nRUN mkdir -p /r/{half} /q/{half} && echo deep >/q/{half}/f && cd /r/{half} && mv /q .\n\
                     RUN mkdir /o; touch \"$(printf '/o/new\\nline')\" \"$(printf '/o/\\377\\376')\" /o/-rf \"$(printf '/o/\\033[2J')\"\n\
                     FROM tiny\nCOPY --from=one /r /r\nCOPY --from=one /o /o\nRUN cd /r/{half}/q && cat {half}/f >/said; ls -A /o | wc -l >>/said\n"
                ),
            )?;
            s.shows("deep", "cat /said", "deep\n4")?;
            s.must("docker save -o deep.tar deep && docker rmi deep && docker load -q -i deep.tar")?;
            s.shows("deep", &format!("cd /r/{half}/q && cat {half}/f"), "deep")?;
            s.must("docker rmi deep")?;
            swept(s)
        }),
    ]
}

fn outside(s: &Scene, act: impl Fn(&Scene) -> Done) -> Done {
    std::fs::write(OUTSIDE, "secret\n").map_err(|e| format!("{OUTSIDE}: {e}"))?;
    let acted = act(s);
    let there = std::fs::read_to_string(OUTSIDE).unwrap_or_default();
    std::fs::remove_file(OUTSIDE).map_err(|e| format!("{OUTSIDE}: {e}"))?;
    acted?;
    is("what is outside", there, "secret\n")
}

const ARCHIVE: &str = r#"
import io, sys, tarfile
t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|')
def file(name, text):
    i = tarfile.TarInfo(name); i.size = len(text); t.addfile(i, io.BytesIO(text))
def other(name, kind, link='', **more):
    i = tarfile.TarInfo(name); i.type = kind; i.linkname = link
    for k, v in more.items(): setattr(i, k, v)
    t.addfile(i)
out = '/tmp/outside-of-every-build'
file('Dockerfile', b'FROM tiny\nCOPY . /c/\n')
kind = sys.argv[1]
if kind == 'up': file('../' * 20 + 'tmp/written', b'x')
if kind == 'absolute': file('/tmp/written', b'x'); other('link', tarfile.SYMTYPE, out)
if kind == 'through': other('d', tarfile.SYMTYPE, '/tmp'); file('d/written', b'x')
if kind == 'hard': other('h', tarfile.LNKTYPE, out); other('h2', tarfile.LNKTYPE, '../' * 20 + out[1:])
if kind == 'device': other('null', tarfile.CHRTYPE, devmajor=1, devminor=3); other('pipe', tarfile.FIFOTYPE)
t.close()
"#;
