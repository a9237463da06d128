//! What is done once more, and what is not.

use std::time::Instant;

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks, was_cached};
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
        case("cache.what-a-step-can-see", &[Need::NotBuildah], |s| {
            // How a mount looks is part of the step, what a secret holds is not.
            s.file("s", "word")?;
            let secret = |s: &Scene<'_>, options: &str| {
                s.dockerfile(&format!(
                    "FROM tiny\nRUN --mount=type=secret,id=s{options} stat -c '%a %u' /run/secrets/s >/seen\n"
                ))?;
                s.build("--secret id=s,src=s -t seeing .")?;
                s.inside("seeing", "cat /seen")
            };
            is("a secret", secret(s, "")?, "400 0")?;
            is("another mode", secret(s, ",mode=0444")?, "444 0")?;
            is("another owner", secret(s, ",mode=0444,uid=7")?, "444 7")?;
            s.dockerfile("FROM tiny\nRUN --mount=type=secret,id=t true\n")?;
            s.build("-t seeing .")?;
            s.refuses(
                "FROM tiny\nRUN --mount=type=secret,id=t,required true\n",
                &["t", "not found"],
            )?;
            if !s.is_brig() {
                return Ok(());
            }
            let of_cache = |s: &Scene<'_>, id: &str| {
                s.dockerfile(&format!(
                    "FROM tiny\nRUN --mount=type=cache,target=/c,id=seen-{id},uid={id} stat -c %u /c >/seen\n"
                ))?;
                s.build("-t seeing .")?;
                s.inside("seeing", "cat /seen")
            };
            is("a cache", of_cache(s, "8")?, "8")?;
            is("another one's", of_cache(s, "9")?, "9")?;
            s.dockerfile("FROM tiny\nRUN hostname >/seen; ulimit -n >>/seen; df -k /dev/shm | awk 'NR == 2 {print $2}' >>/seen\n")?;
            let given = |s: &Scene<'_>, flags: &str| {
                s.build(&format!("{flags} -t seeing ."))?;
                s.inside("seeing", "cat /seen")
            };
            for name in ["one", "two"] {
                let seen = given(s, &format!("--build-arg BUILDKIT_SANDBOX_HOSTNAME={name}"))?;
                is("the first line", seen.lines().next().unwrap_or_default(), name)?;
            }
            for limit in ["100", "200"] {
                let seen = given(s, &format!("--ulimit nofile={limit}"))?;
                is("the second line", seen.lines().nth(1).unwrap_or_default(), limit)?;
            }
            for size in ["1024", "2048"] {
                let seen = given(s, &format!("--shm-size {size}k"))?;
                is("the third line", seen.lines().nth(2).unwrap_or_default(), size)?;
            }
            Ok(())
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
        case("cache.inline-of-stages", &[Need::Brig, Need::Registry], |s| {
            // The image has no layer of the first stage, and yet nobody builds that again.
            let name = |n: usize| format!("{REGISTRY}/stages:{n}");
            let text = "FROM tiny AS first\nRUN cat /proc/sys/kernel/random/uuid | tee /u >/w\nFROM first AS second\nRUN cp /u /v\nFROM tiny\n\
                        COPY --from=second /v /v\nRUN cat /v >/result\n";
            s.dockerfile(text)?;
            s.build(&format!(
                "--no-cache --build-arg BUILDKIT_INLINE_CACHE=1 --push -t {} .",
                name(1)
            ))?;
            let first = s.inside(&name(1), "cat /result")?;
            for n in 1..3 {
                // What came from a cache is in the next one as well.
                let words = format!(
                    "--cache-from {} --cache-to type=inline --push -t {} .",
                    name(n),
                    name(n + 1)
                );
                let told = elsewhere(s, &words)?;
                for step in ["RUN cat /proc", "RUN cp /u", "COPY --from=second", "RUN cat /v"] {
                    was_cached(&told, step, true)?;
                }
                shows_elsewhere(s, &name(n + 1), "cat /result", &first)?;
            }
            // What comes last is another step: what is before it is known.
            s.dockerfile(&text.replace("cat /v >", "cat /v /v >"))?;
            let told = elsewhere(s, &format!("--cache-from {} -t changed .", name(1)))?;
            was_cached(&told, "RUN cat /proc", true)?;
            was_cached(&told, "COPY --from=second", true)?;
            was_cached(&told, "RUN cat /v", false)?;
            shows_elsewhere(s, "changed", "cat /result", &format!("{first}\n{first}"))?;
            // Other files of the stage: it has to be built after all.
            s.dockerfile(&text.replace("COPY --from=second /v /v", "COPY --from=second /w /v"))?;
            let told = elsewhere(s, &format!("--cache-from {} -t again .", name(1)))?;
            was_cached(&told, "RUN cat /proc", false)?;
            let second = s.must("BRIG_ROOT=$PWD/other docker run --rm --network none again cat /result")?;
            is(
                "whether it was built again",
                second != first && second.len() == first.len(),
                true,
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
            s.fails("docker build --cache-from type=nonsense .", 1, &["nonsense"])?;
            s.fails("docker build --cache-to type=gha .", 1, &["gha", "not supported"])?;
            s.fails(
                "docker build --cache-to type=local,dest=d,color=red .",
                1,
                &["color"],
            )?;
            for from in [
                // Nobody listens there.
                "127.0.0.1:1/cache",
                "type=local,src=nowhere",
                // An image without one.
                &format!("{REGISTRY}/plain:1"),
            ] {
                s.builds("plain", "FROM tiny\nLABEL plain=1\n")?;
                s.must(&format!(
                    "docker tag plain {REGISTRY}/plain:1 && docker push -q {REGISTRY}/plain:1"
                ))?;
                s.dockerfile(&format!("FROM tiny\nRUN echo {from}\nRUN echo after it\n"))?;
                let began = Instant::now();
                let told = s.build(&format!("--cache-from {from} -t absent-cache ."))?;
                let warnings = told.lines().filter(|line| line.contains("is not used")).count();
                is(&format!("warnings in {told}"), warnings, 1)?;
                is("it took long", began.elapsed().as_secs() > 60, false)?;
            }
            Ok(())
        }),
        case("cache.damaged", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN cat /proc/sys/kernel/random/uuid >/u\nRUN cat /u /u >/v\n")?;
            s.build("--no-cache --cache-to type=local,dest=whole -t whole .")?;
            let first = s.inside("whole", "cat /u")?;
            elsewhere(s, "--cache-from type=local,src=whole -t copy .")?;
            shows_elsewhere(s, "copy", "cat /u", &first)?;
            let index = s.json("whole/index.json")?;
            let blob = |digest: &serde_json::Value| {
                format!(
                    "damaged/blobs/{}",
                    digest.as_str().unwrap_or_default().replace(':', "/")
                )
            };
            let manifest_file = blob(index.pointer("/manifests/0/digest").unwrap_or_default());
            let manifest = s.json(&manifest_file.replace("damaged", "whole"))?;
            let config = blob(&manifest["config"]["digest"]);
            let layer = blob(&manifest["layers"][0]["digest"]);
            for damage in [
                "echo '{' >damaged/index.json".to_owned(),
                "rm damaged/index.json; mkfifo damaged/index.json".to_owned(),
                "rm damaged/index.json; ln -s /dev/zero damaged/index.json".to_owned(),
                format!("rm {manifest_file}"),
                format!("sed -i s/sha256:/sha256:0/ {config}"),
                format!("rm {config}; ln -s /etc/passwd {config}"),
                format!("rm {layer}"),
                format!("truncate -s -1 {layer}"),
                format!("printf x | dd of={layer} bs=1 seek=40 conv=notrunc 2>/dev/null"),
                format!("rm {layer}; mkfifo {layer}"),
                // Everything has its digest, but the layers are not the ones that the records mean.
                swapped(&manifest_file, &config),
            ] {
                s.must(&format!("rm -rf damaged; cp -a whole damaged; {damage}"))?;
                let told = elsewhere(s, "--cache-from type=local,src=damaged -t damaged .")?;
                let warnings = told.lines().filter(|line| line.contains("is not used")).count();
                is(&format!("warnings with {damage} in {told}"), warnings, 1)?;
                let u = s.must("BRIG_ROOT=$PWD/other docker run --rm --network none damaged cat /u")?;
                shows_elsewhere(s, "damaged", "cat /v", &format!("{u}\n{u}"))?;
            }
            s.must("BRIG_ROOT=$PWD/other docker system check")?;
            // A stage that nobody seemed to need, and then it is needed: its layers are not in the cache.
            s.dockerfile(
                "FROM tiny AS first\nRUN cat /proc/sys/kernel/random/uuid >/u\nFROM tiny\nCOPY --from=first /u /u\n\
                 RUN --mount=type=bind,from=first,target=/m cat /m/u /u >/v\n",
            )?;
            s.build("--no-cache --cache-to type=local,dest=stages -t whole .")?;
            let index = s.json("stages/index.json")?;
            let digest = index
                .pointer("/manifests/0/digest")
                .and_then(|d| d.as_str())
                .unwrap_or_default();
            let manifest = s.json(&format!("stages/blobs/{}", digest.replace(':', "/")))?;
            let layers = manifest["layers"].as_array().ok_or("no layers")?;
            is("the layers of the result", layers.len(), 2)?;
            for layer in layers {
                let layer = blob(&layer["digest"]);
                s.must(&format!("rm -rf damaged; cp -a stages damaged; rm {layer}"))?;
                let told = elsewhere(s, "--jobs 1 --cache-from type=local,src=damaged -t damaged .")?;
                let warnings = told.lines().filter(|line| line.contains("is not used")).count();
                is(&format!("warnings without {layer} in {told}"), warnings, 1)?;
                s.must("BRIG_ROOT=$PWD/other docker run --rm --network none damaged sh -c 'cat /v >/w; test $(wc -l </w) = 2'")?;
            }
            // What is to be done again is, though its outcome is known.
            let told = elsewhere(
                s,
                "--no-cache-filter first --cache-from type=local,src=stages -t again .",
            )?;
            was_cached(&told, "RUN cat /proc", false)
        }),
        case("cache.killed-export", &[Need::Brig], |s| {
            // Whatever a kill leaves in the directory is a whole cache: the old one, or the new one.
            let to = "--cache-to type=local,dest=cache,mode=max,compression=uncompressed -t killed .";
            s.dockerfile(
                "FROM tiny\nRUN echo first >/f\nARG N\nRUN echo $N; head -c 40000000 /dev/urandom >/r\n",
            )?;
            s.build(to)?;
            let mut struck_down = 0;
            for n in 0..12 {
                // In the middle of a blob; on a busy machine it may be written before anybody has seen it.
                let struck = s.must(&format!(
                    "docker build {} --build-arg N={n} {to} >told 2>&1 & \
                     while kill -0 $! && ! ls cache/blobs/sha256/.*-new; do :; done >/dev/null 2>&1; kill -9 $!; wait $!; echo $?",
                    s.plain()
                ))?;
                if struck.trim() != "0" {
                    is(
                        &format!("what ended the build ({})", s.read("told")?),
                        struck.trim(),
                        "137",
                    )?;
                    struck_down += 1;
                }
                let told = elsewhere(s, "--cache-from type=local,src=cache -t from-killed .")?;
                lacks("after a kill", &told, "is not used")?;
                was_cached(&told, "RUN echo first", true)?;
                if struck_down == 3 {
                    break;
                }
            }
            is("whether any was killed", struck_down > 0, true)?;
            s.build(to)?;
            s.prints("find cache -name '.*new' | wc -l", "0")
        }),
        case("cache.passed-on", &[Need::Brig], |s| {
            s.dockerfile(
                "FROM tiny AS first\nRUN cat /proc/sys/kernel/random/uuid >/u\nRUN true\nFROM tiny\nCOPY --from=first /u /u\nWORKDIR /w\n",
            )?;
            s.build("--no-cache --cache-to type=local,dest=one,mode=max -t on .")?;
            let first = s.inside("on", "cat /u")?;
            // Who has brought all of it sends the same, to the byte.
            elsewhere(
                s,
                "--cache-from type=local,src=one --cache-to type=local,dest=two,mode=max -t on .",
            )?;
            s.prints("diff -r one two && echo same", "same")?;
            let packed = "type=local,dest=three,tag=small,mode=max,compression=zstd,force-compression=true";
            elsewhere(
                s,
                &format!("--cache-from type=local,src=two --cache-to {packed} -t on ."),
            )?;
            s.prints("cat three/blobs/sha256/* | grep -ac 'tar+zstd'", "1")?;
            let told = elsewhere(s, "--cache-from type=local,src=three,tag=small -t on .")?;
            for step in ["RUN cat /proc", "RUN true", "COPY --from=first", "WORKDIR /w"] {
                was_cached(&told, step, true)?;
            }
            shows_elsewhere(s, "on", "cat /u", &first)?;
            // Another tag beside it, which needs less.
            s.build("--cache-to type=local,dest=three -t on .")?;
            let manifests = s.json("three/index.json")?;
            is("tags", manifests["manifests"].as_array().map_or(0, Vec::len), 2)?;
            // In a store that has all of it nobody is asked.
            lacks(
                "what was told",
                &s.build("--cache-from type=local,src=nowhere -t on .")?,
                "nowhere",
            )
        }),
        case("cache.to-nowhere", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN echo to nowhere >/f\n")?;
            for to in [
                "type=registry,ref=127.0.0.1:1/cache",
                "type=local,dest=Dockerfile/cache",
            ] {
                s.must("docker rmi -f nowhere >/dev/null 2>&1 || true")?;
                s.fails(
                    &format!("docker build {} --cache-to {to} -t nowhere .", s.plain()),
                    1,
                    &["failed to export the cache to"],
                )?;
                // What was built is there all the same.
                s.shows("nowhere", "cat /f", "to nowhere")?;
                let told = s.build(&format!("--cache-to {to},ignore-error=true -t nowhere ."))?;
                has("what was told", &told, "failed to export the cache to")?;
            }
            Ok(())
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

/// Exchanges the first two diff ids of a cache, and gives all documents the digests that they have then.
fn swapped(manifest_file: &str, config: &str) -> String {
    let old = |part: &str| part.rsplit('/').next().unwrap_or_default().to_owned();
    let renamed =
        |file: &str| format!("new=$(sha256sum {file} | cut -d' ' -f1); mv {file} damaged/blobs/sha256/$new");
    format!(
        r#"sed -Ei 's/"layers":\[("[^"]*"),("[^"]*")/"layers":[\2,\1/' {config}; {}; sed -i "s/{}/$new/" {manifest_file}; {}; \
           sed -i "s/{}/$new/" damaged/index.json"#,
        renamed(config),
        old(config),
        renamed(manifest_file),
        old(manifest_file),
    )
}

/// Builds in a store of the case's own, which has nothing but the base images.
fn elsewhere(s: &Scene, words: &str) -> Result<String, String> {
    s.must("rm -rf other; test -e base.tar || docker save -o base.tar tiny; BRIG_ROOT=$PWD/other docker load -q -i base.tar")?;
    s.told(&format!(
        "BRIG_ROOT=$PWD/other docker build --progress plain {words}"
    ))
}

fn shows_elsewhere(s: &Scene, image: &str, line: &str, text: &str) -> Done {
    s.prints(
        &format!("BRIG_ROOT=$PWD/other docker run --rm --network none {image} {line}"),
        text,
    )
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
