//! What a build tells while it goes on, and what is told of a Dockerfile without building it.

use serde_json::Value;

use crate::case::{Case, Done, Need, case, has, is, lacks, soon};

pub fn cases() -> Vec<Case> {
    vec![
        case("progress.plain", &[Need::NotBuildah], |s| {
            s.file("f", "f\n")?;
            let text = "FROM tiny\nRUN echo out; echo err >&2\nCOPY f /\n";
            let told = s.builds("plain", text)?;
            for part in [
                "[internal] load build definition from Dockerfile",
                "[internal] load .dockerignore",
                "[internal] load build context",
                "[1/3] FROM docker.io/library/tiny",
                "[2/3] RUN echo out; echo err >&2",
                "[3/3] COPY f /",
                "exporting to image",
                "naming to docker.io/library/plain",
            ] {
                has("plain progress", &told, part)?;
            }
            numbered(&told)?;
            let again = s.builds("plain", text)?;
            numbered(&again)?;
            has("cached", &again, " CACHED\n")?;
            // Nothing of it is on stdout.
            let o = s.sh("docker build --progress plain -t plain .")?;
            is("stdout", o.stdout, "")?;
            // Without a terminal it is plain by itself.
            let o = s.sh("docker build -t plain .")?;
            has("auto", &o.stderr, "[3/3] COPY f /")?;
            lacks("auto", &o.stderr, "\u{1b}")
        }),
        case("progress.stages", &[Need::NotBuildah], |s| {
            let told = s.builds(
                "stages",
                "FROM tiny AS first\nRUN echo 1\nFROM tiny\nRUN echo 2\nCOPY --from=first /etc/passwd /p\n",
            )?;
            has("names", &told, "[first 2/2] RUN echo 1")?;
            has("names", &told, "[stage-1 2/3] RUN echo 2")?;
            has("names", &told, "[stage-1 3/3] COPY --from=first /etc/passwd /p")
        }),
        case("progress.output-lines", &[Need::NotBuildah], |s| {
            let told = s.builds(
                "lines",
                "FROM tiny\nRUN printf 'no line break'; printf '\\nsecond\\n\\nfourth\\r\\n'; echo err >&2\n",
            )?;
            for line in ["no line break", "second", "fourth", "err"] {
                let found = told.lines().find(|l| {
                    l.trim_end().ends_with(&format!(" {line}")) && l.starts_with('#') && !l.contains("RUN")
                });
                let found = found.ok_or(format!("no line {line:?} in {told}"))?;
                // #5 0.123 text
                let second = found.split(' ').nth(1).unwrap_or_default();
                is(found, second.parse::<f64>().is_ok(), true)?;
            }
            Ok(())
        }),
        case("progress.error", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN echo why >&2; exit 5\n")?;
            let o = s.sh("docker build --progress plain .")?;
            is("code", o.code, 1)?;
            has("what was told", &o.stderr, "#")?;
            has("what was told", &o.stderr, " ERROR: ")?;
            has(
                "what was told",
                &o.stderr,
                "------\n > [2/2] RUN echo why >&2; exit 5:\n",
            )?;
            has(
                "what was told",
                &o.stderr,
                "process \"/bin/sh -c echo why >&2; exit 5\" did not complete successfully: exit code: 5",
            )
            .or_else(|_| {
                has(
                    "what was told",
                    &o.stderr,
                    "executor failed running [/bin/sh -c echo why >&2; exit 5]: exit code: 5",
                )
            })
        }),
        case("progress.rawjson", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN echo raw\n")?;
            let o = s.sh("docker build --progress rawjson -t raw .")?;
            is("code", o.code, 0)?;
            let (mut vertexes, mut logs, mut completed) = (0, String::new(), 0);
            for line in o.stderr.lines() {
                let status: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
                for vertex in status["vertexes"].as_array().into_iter().flatten() {
                    vertexes += 1;
                    has("digest", vertex["digest"].as_str().unwrap_or_default(), "sha256:")?;
                    completed += usize::from(vertex.get("completed").is_some());
                }
                for log in status["logs"].as_array().into_iter().flatten() {
                    logs += log["data"].as_str().unwrap_or_default();
                }
            }
            is("vertexes", vertexes > 4 && completed > 2, true)?;
            // "raw\n" in base64, as Go writes bytes.
            has("logs", &logs, "cmF3Cg==")
        }),
        case("progress.tty", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN echo seen on the screen; sleep 1\n")?;
            let mut terminal = s.lab.terminal(&s.dir, "docker build -t screen .")?;
            terminal.expect("Building ", soon())?;
            terminal.expect("[2/2] RUN echo seen on the screen", soon())?;
            terminal.expect("naming to docker.io/library/screen", soon())?;
            is("code", terminal.close(soon())?, 0)
        }),
        case("progress.unknown", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\n")?;
            let o = s.sh("docker build --progress nonsense .")?;
            is("code", o.code == 0, false)?;
            has("message", &o.stderr, "nonsense")
        }),
        case("check.clean", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN true\n")?;
            let o = s.sh("docker build --check .")?;
            is("code", o.code, 0)?;
            has(
                "what was told",
                &(o.stdout + &o.stderr),
                "Check complete, no warnings found.",
            )
        }),
        case("check.findings", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny as x\nMAINTAINER me\nRUN exit 1\n")?;
            let o = s.sh("docker build --check .")?;
            // As buildx: what is found is the code, and error=true makes it an error.
            is("code", o.code, 1)?;
            let told = o.stdout + &o.stderr;
            for part in [
                "Check complete, 2 warnings have been found!",
                "WARNING: FromAsCasing",
                "WARNING: MaintainerDeprecated",
                "Dockerfile:2\n",
                "   2 | >>> MAINTAINER me\n",
            ] {
                has("what was told", &told, part)?;
            }
            s.dockerfile("# check=skip=FromAsCasing;error=true\nFROM tiny as x\nMAINTAINER me\n")?;
            let o = s.sh("docker build --check .")?;
            is("code with error=true", o.code, 1)?;
            lacks("what was told", &(o.stdout + &o.stderr), "WARNING: FromAsCasing")?;
            s.fails("docker build .", 1, &["MaintainerDeprecated"])?;
            s.must("docker build -q --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all .")?;
            Ok(())
        }),
        case("check.json", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny as x\n")?;
            let o = s.sh("docker build --call check,format=json .")?;
            let told: Value = serde_json::from_str(&o.stdout).map_err(|e| format!("{}: {e}", o.stdout))?;
            is(
                "rule",
                told["warnings"][0]["ruleName"].as_str().unwrap_or_default(),
                "FromAsCasing",
            )
        }),
        case("call.targets", &[Need::Brig], |s| {
            s.dockerfile("# the base of all\nFROM tiny AS base\nFROM base AS test\n# release is what is shipped\nFROM base AS release\n")?;
            let told = s.must("docker build --call targets .")?;
            for part in [
                "TARGET",
                "DESCRIPTION",
                "base",
                "test",
                "release (default)",
                "is what is shipped",
            ] {
                has("targets", &told, part)?;
            }
            Ok(())
        }),
        case("call.outline", &[Need::Brig], |s| {
            s.dockerfile(
                "ARG GLOBAL=1\nFROM tiny AS x\n# A is a letter\nARG A=a\nARG GLOBAL\nRUN --mount=type=secret,id=s,required=true \
                 --mount=type=ssh --mount=type=cache,target=/c true\n",
            )?;
            let told = s.must("docker build --call outline .")?;
            for part in ["TARGET", "x", "BUILD ARG", "is a letter", "SECRET", "s", "true"] {
                has("outline", &told, part)?;
            }
            let json = s.must("docker build --call outline,format=json .")?;
            let told: Value = serde_json::from_str(&json).map_err(|e| format!("{json}: {e}"))?;
            is("name", told["name"].as_str().unwrap_or_default(), "x")
        }),
        case("call.nothing-runs", &[Need::Brig], |s| {
            s.dockerfile("FROM absent.example.com/no/image AS x\nRUN exit 9\n")?;
            s.must(
                "docker build --call targets . && docker build --call outline . && docker build --check .",
            )?;
            s.fails("docker build --call nonsense .", 1, &["nonsense"])
        }),
        case("help.build", &[], |s| {
            let told = s.must("docker build --help")?;
            for flag in [
                "--build-arg",
                "--file",
                "--no-cache",
                "--tag",
                "--target",
                "--secret",
                "--ssh",
            ] {
                has("help", &told, flag)?;
            }
            Ok(())
        }),
    ]
}

/// Each number begins with its name, and ends once.
fn numbered(told: &str) -> Done {
    let mut names = std::collections::BTreeMap::new();
    let mut ended = std::collections::BTreeMap::new();
    for line in told.lines() {
        let Some((number, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some(number) = number.strip_prefix('#').and_then(|n| n.parse::<usize>().ok()) else {
            continue;
        };
        names.entry(number).or_insert_with(|| rest.to_owned());
        if rest == "CACHED" || rest.starts_with("DONE ") || rest.starts_with("ERROR") {
            *ended.entry(number).or_insert(0) += 1;
        }
    }
    is("the first number", names.keys().next().copied().unwrap_or(0), 1)?;
    for (number, name) in &names {
        let ends = ended.get(number).copied().unwrap_or(0);
        // BuildKit ends a vertex once more where a part of it is done again.
        is(&format!("#{number} {name} ended (in {told})"), ends >= 1, true)?;
    }
    Ok(())
}
