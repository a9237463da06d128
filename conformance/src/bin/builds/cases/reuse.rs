//! What is done once more, and what is not.

use std::time::Instant;

use crate::case::{Case, Done, Need, Scene, case, has, is, was_cached};
use crate::lab::REGISTRY;

pub fn cases() -> Vec<Case> {
    vec![
        case("cache.touch-and-chmod", &[Need::NotBuildah], |s| {
            let text = "FROM tiny\nCOPY d /d/\nRUN echo after >/after\n";
            s.file("d/f", "same\n")?;
            s.file("d/sub/g", "same\n")?;
            s.file("elsewhere", "")?;
            s.builds("touched", text)?;
            s.must("touch d/f d/sub d; echo changed >elsewhere")?;
            was_cached(&s.builds("touched", text)?, "COPY d /d/", true)?;
            s.must("rm d/f; printf 'same\\n' >d/f")?;
            was_cached(&s.builds("touched", text)?, "COPY d /d/", true)?;
            s.mode("d/f", 0o755)?;
            let told = s.builds("touched", text)?;
            was_cached(&told, "COPY d /d/", false)?;
            was_cached(&told, "RUN echo after", false)?;
            s.file("d/f", "other\n")?;
            was_cached(&s.builds("touched", text)?, "COPY d /d/", false)?;
            s.must("mv d/f d/h")?;
            was_cached(&s.builds("touched", text)?, "COPY d /d/", false)?;
            s.must("ln -s h d/link")?;
            was_cached(&s.builds("touched", text)?, "COPY d /d/", false)?;
            s.must("ln -sf g d/link")?;
            was_cached(&s.builds("touched", text)?, "COPY d /d/", false)
        }),
        case("cache.selected-files-only", &[Need::NotBuildah], |s| {
            let text = "FROM tiny\nCOPY *.txt /t/\n";
            s.file("a.txt", "a\n")?;
            s.file("b.md", "b\n")?;
            s.builds("selected", text)?;
            s.file("b.md", "changed\n")?;
            s.file("c.md", "new\n")?;
            was_cached(&s.builds("selected", text)?, "COPY *.txt /t/", true)?;
            s.file("c.txt", "new\n")?;
            was_cached(&s.builds("selected", text)?, "COPY *.txt /t/", false)
        }),
        case("cache.ignored-files", &[Need::NotBuildah], |s| {
            let text = "FROM tiny\nCOPY . /t/\n";
            s.file(".dockerignore", "*.log\n")?;
            s.file("a.log", "a\n")?;
            s.builds("ignoring", text)?;
            s.file("a.log", "changed\n")?;
            s.file("b.log", "new\n")?;
            was_cached(&s.builds("ignoring", text)?, "COPY . /t/", true)
        }),
        case("cache.from-stage-by-content", &[Need::NotBuildah], |s| {
            // The stage runs again and makes the same file: what was copied from it is the same step.
            let text = |n: usize| {
                format!(
                    "FROM tiny AS made\nRUN echo {n} >/other; echo same >/result; touch -d @1600000000 /result\n\
                     FROM tiny\nCOPY --from=made /result /r\nRUN echo after the copy >/a\n"
                )
            };
            s.builds("by-content", &text(1))?;
            let told = s.builds("by-content", &text(2))?;
            was_cached(&told, "RUN echo 2", false)?;
            was_cached(&told, "COPY --from=made /result", true)?;
            was_cached(&told, "RUN echo after the copy", true)
        }),
        case("cache.arg-use", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN echo before\nARG A\nRUN echo after\nCOPY Dockerfile /$A\n")?;
            s.build("--build-arg A=1 -t argued .")?;
            let told = s.build("--build-arg A=2 -t argued .")?;
            was_cached(&told, "RUN echo before", true)?;
            // A RUN below an ARG sees it, whether it looks or not.
            was_cached(&told, "RUN echo after", false)?;
            let told = s.build("--build-arg A=1 -t argued .")?;
            was_cached(&told, "RUN echo after", true)?;
            was_cached(&told, "COPY Dockerfile /", true)
        }),
        case("cache.metadata-is-free", &[Need::NotBuildah], |s| {
            s.builds("meta", "FROM tiny\nLABEL a=1\nENV UNUSED=1\nCOPY Dockerfile /f\n")
                .and_then(|_| s.builds("meta", "FROM tiny\nLABEL a=1\nRUN echo meta >/f\n"))?;
            let told = s.builds("meta", "FROM tiny\nLABEL a=2\nLABEL b=3\nRUN echo meta >/f\n")?;
            was_cached(&told, "RUN echo meta", true)?;
            let told = s.builds("meta", "FROM tiny\nENV E=1\nRUN echo meta >/f\n")?;
            was_cached(&told, "RUN echo meta", false)
        }),
        case("cache.of-other-dockerfiles", &[Need::NotBuildah], |s| {
            // It belongs to nobody: the same steps in another file, another directory, under another name.
            s.file("one/Dockerfile", "FROM tiny AS a\nRUN echo everybody >/f\n")?;
            s.file("two/D", "FROM tiny\nRUN echo everybody >/f\nCMD x\n")?;
            s.build("-t everybody1 one")?;
            was_cached(
                &s.build("-t everybody2 -f two/D two")?,
                "RUN echo everybody",
                true,
            )
        }),
        case("cache.no-cache", &[], |s| {
            s.dockerfile("FROM tiny\nRUN cat /proc/sys/kernel/random/uuid >/u\n")?;
            s.build("-t uuid .")?;
            let first = s.inside("uuid", "cat /u")?;
            s.build("-t uuid .")?;
            is("the second time", s.inside("uuid", "cat /u")?, &first)?;
            s.build("--no-cache -t uuid .")?;
            is("with --no-cache", s.inside("uuid", "cat /u")? == first, false)?;
            // What it made is what the next one finds.
            let third = s.inside("uuid", "cat /u")?;
            s.build("-t uuid .")?;
            is("after it", s.inside("uuid", "cat /u")?, third)
        }),
        case("cache.no-cache-filter", &[Need::Brig], |s| {
            s.dockerfile(
                "FROM tiny AS one\nRUN echo one >/f\nFROM tiny AS two\nRUN echo two >/f\nFROM tiny\nCOPY --from=one /f /1\nCOPY --from=two /f /2\n",
            )?;
            s.build("-t filtered .")?;
            let told = s.build("--no-cache-filter two -t filtered .")?;
            was_cached(&told, "RUN echo one", true)?;
            was_cached(&told, "RUN echo two", false)
        }),
        case("cache.failed-step-is-none", &[Need::NotBuildah], |s| {
            let step = "FROM tiny\nRUN echo kept >/f\nRUN --mount=type=secret,id=s test -e /run/secrets/s\n";
            s.refuses(step, &["exit code: 1"])?;
            s.file("s", "x")?;
            let told = s.build("--secret id=s,src=s -t failed-once .")?;
            was_cached(&told, "RUN echo kept", true)?;
            was_cached(&told, "RUN --mount=type=secret", false)
        }),
        case("cache.pull", &[Need::Registry, Need::NotBuildah], |s| {
            let base = format!("{REGISTRY}/base:1");
            s.builds("pull-base", "FROM tiny\nENV V=1\n")?;
            s.must(&format!("docker tag pull-base {base} && docker push -q {base}"))?;
            s.builds("pull-new", "FROM tiny\nENV V=2\n")?;
            s.dockerfile(&format!("FROM {base}\nRUN echo $V >/v\n"))?;
            s.build("-t pulled .")?;
            s.shows("pulled", "cat /v", "1")?;
            // Somebody else pushes; what is here is good enough until it is asked for.
            s.must(&format!("docker tag {base} kept:1 && docker tag pull-new {base} && docker push -q {base} && docker tag kept:1 {base}"))?;
            s.build("-t pulled .")?;
            s.shows("pulled", "cat /v", "1")?;
            s.build("--pull -t pulled .")?;
            s.shows("pulled", "cat /v", "2")?;
            s.must(&format!("docker rmi {base}"))?;
            s.build("-t pulled .")?;
            s.shows("pulled", "cat /v", "2")
        }),
        case("cache.base-by-digest", &[Need::Brig, Need::Registry], |s| {
            s.builds("digest-base", "FROM tiny\nENV V=digest\n")?;
            let name = format!("{REGISTRY}/digested:1");
            s.must(&format!("docker tag digest-base {name}"))?;
            let pushed = s.must(&format!("docker push {name}"))?;
            let digest = pushed
                .split_whitespace()
                .find(|word| word.starts_with("sha256:"))
                .ok_or(format!("no digest in {pushed}"))?
                .to_owned();
            s.builds(
                "by-digest",
                &format!("FROM {REGISTRY}/digested@{digest}\nRUN echo $V >/v\n"),
            )?;
            s.shows("by-digest", "cat /v", "digest")
        }),
        case("cache.to-local", &[Need::Brig], |s| {
            exchange(s, "type=local,dest=cache,mode=max", "type=local,src=cache")?;
            let index = s.json("cache/index.json")?;
            is(
                "the layout's manifests",
                index
                    .pointer("/manifests")
                    .and_then(|m| m.as_array())
                    .map_or(0, Vec::len),
                1,
            )
        }),
        case("cache.to-registry", &[Need::Brig, Need::Registry], |s| {
            let place = format!("type=registry,ref={REGISTRY}/cache:1");
            exchange(s, &format!("{place},mode=max"), &place)
        }),
        case("cache.inline", &[Need::Brig, Need::Registry], |s| {
            let name = format!("{REGISTRY}/inline:1");
            s.dockerfile("FROM tiny\nRUN cat /proc/sys/kernel/random/uuid >/u\n")?;
            s.build(&format!("--cache-to type=inline --push -t {name} ."))?;
            let first = s.inside(&name, "cat /u")?;
            other_store(s)?;
            let told = s.told(&format!(
                "BRIG_ROOT=$PWD/other docker build --progress plain --cache-from {name} -t again ."
            ))?;
            was_cached(&told, "RUN cat /proc", true)?;
            s.prints(
                "BRIG_ROOT=$PWD/other docker run --rm --network none again cat /u",
                &first,
            )
        }),
        case("cache.from-absent", &[Need::Brig, Need::Registry], |s| {
            // A cache that is not there is a warning.
            s.dockerfile("FROM tiny\nRUN echo from absent\n")?;
            let told = s.build(&format!(
                "--cache-from {REGISTRY}/no-cache-here:1 -t absent-cache ."
            ))?;
            has("what was told", &told, "no-cache-here")?;
            s.build("--cache-from type=local,src=nowhere -t absent-cache .")?;
            s.fails("docker build --cache-from type=nonsense .", 1, &["nonsense"])
        }),
        case("cache.together", &[Need::NotBuildah], |s| {
            // Two builds at once share a step: one of them runs it.
            s.dockerfile(
                "FROM tiny\nRUN sleep 1; cat /proc/sys/kernel/random/uuid >/u\nARG N\nRUN echo $N\n",
            )?;
            let one = |n: usize| {
                format!(
                    "{{ docker build {} --build-arg N={n} -t together{n} . >out{n} 2>&1 || {{ cat out{n}; touch failed; }}; }} &",
                    s.plain()
                )
            };
            let o = s.sh(&format!("{} {} wait; test ! -e failed", one(1), one(2)))?;
            is(&o.stdout, o.code, 0)?;
            is(
                "the second",
                s.inside("together2", "cat /u")?,
                s.inside("together1", "cat /u")?,
            )
        }),
        case("stages.parallel", &[Need::NotBuildah], |s| {
            // Each waits for what only the other can say: one after the other they would never end.
            s.dockerfile(
                "FROM tiny AS one
RUN --mount=type=cache,target=/c,id=parallel touch /c/one; for i in $(seq 100); do test -e /c/two && exit 0; sleep 0.1; done; exit 1
FROM tiny AS two
RUN --mount=type=cache,target=/c,id=parallel touch /c/two; for i in $(seq 100); do test -e /c/one && exit 0; sleep 0.1; done; exit 1
FROM tiny
COPY --from=one /etc/passwd /1
COPY --from=two /etc/passwd /2
",
            )?;
            s.build("-t parallel .")?;
            Ok(())
        }),
        case("stages.failure-ends-the-others", &[Need::NotBuildah], |s| {
            s.dockerfile(
                "FROM tiny AS one\nRUN sleep 100\nFROM tiny AS two\nRUN sleep 1; exit 7\nFROM tiny\nCOPY --from=one /etc/passwd /1\nCOPY --from=two /etc/passwd /2\n",
            )?;
            let began = Instant::now();
            s.fails(&format!("docker build {} .", s.plain()), 1, &["exit code: 7"])?;
            is("it took long", began.elapsed().as_secs() > 30, false)
        }),
    ]
}

/// Puts the base images into a store of the case's own.
pub fn other_store(s: &Scene) -> Done {
    s.must("docker save -o base.tar tiny && BRIG_ROOT=$PWD/other docker load -q -i base.tar")
        .map(|_| ())
}

/// What one store exported another one finds, also of stages that the image does not show.
fn exchange(s: &Scene, to: &str, from: &str) -> Done {
    s.file("data", "data\n")?;
    s.dockerfile(
        "FROM tiny AS first\nRUN cat /proc/sys/kernel/random/uuid >/u\nCOPY data /data\nFROM tiny\nCOPY --from=first /u /u\nRUN cat /u >/v\n",
    )?;
    s.build(&format!("--no-cache --cache-to {to} -t exported ."))?;
    let first = s.inside("exported", "cat /v")?;
    other_store(s)?;
    let told = s.told(&format!(
        "BRIG_ROOT=$PWD/other docker build --progress plain --cache-from {from} -t imported ."
    ))?;
    for step in ["COPY --from=first /u", "RUN cat /u"] {
        was_cached(&told, step, true)?;
    }
    s.prints(
        "BRIG_ROOT=$PWD/other docker run --rm --network none imported cat /v",
        &first,
    )?;
    // A change at the end leaves the beginning in the cache, though no image had it.
    s.must("sed -i 's,COPY --from=first /u /u,COPY --from=first /u /u2,' Dockerfile; sed -i 's,cat /u >,cat /u2 >,' Dockerfile")?;
    let told = s.told(&format!(
        "rm -rf other; BRIG_ROOT=$PWD/other docker load -q -i base.tar; \
         BRIG_ROOT=$PWD/other docker build --progress plain --cache-from {from} -t imported ."
    ))?;
    was_cached(&told, "RUN cat /proc", true)?;
    s.prints(
        "BRIG_ROOT=$PWD/other docker run --rm --network none imported cat /v",
        &first,
    )
}
