//! What is refused, with which words and which exit code.

use crate::case::{Case, Done, Need, Scene, case, has, is};

pub fn cases() -> Vec<Case> {
    let mut all = vec![
        case("error.no-dockerfile", &[Need::NotBuildah], |s| {
            s.must("mkdir empty")?;
            s.fails(
                "docker build empty",
                1,
                &["Dockerfile", "no such file or directory"],
            )
        }),
        case("error.no-context", &[Need::NotBuildah], |s| {
            s.fails("docker build absent", 1, &["absent", "not found"])?;
            s.file("a-file", "")?;
            s.fails("docker build a-file", 1, &["a-file"])
        }),
        case("error.usage", &[Need::NotBuildah], |s| {
            let o = s.sh("docker build")?;
            is("code without an argument", o.code, 1)?;
            has("message", &o.stderr, "1 argument")?;
            is("code with two", s.sh("docker build . .")?.code, 1)?;
            let o = s.sh("docker build --nonsense .")?;
            is("code of a wrong flag", o.code, 125)?;
            has("message", &o.stderr, "unknown flag: --nonsense")
        }),
        case("error.run-fails", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN echo before\nRUN echo broken >&2; exit 42\nRUN echo never\n")?;
            let line = format!("docker build {} -t failing .", s.plain());
            s.fails(&line, 1, &["broken", "exit code: 42", "ERROR"])?;
            is("the image", s.must("docker images -q failing")?, "")?;
            if s.is_brig() {
                s.fails(
                    &line,
                    1,
                    &["Dockerfile:3\n", "   3 | >>> RUN echo broken >&2; exit 42\n"],
                )?;
            }
            Ok(())
        }),
        case("error.run-not-found", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN [\"/absent\"]\n")?;
            s.fails("docker build .", 1, &["/absent", "no such file or directory"])
        }),
        case("error.copy-missing", &[Need::NotBuildah], |s| {
            s.refuses("FROM tiny\nCOPY absent.txt /\n", &["absent.txt", "not found"])?;
            s.refuses(
                "FROM tiny\nCOPY --from=tiny /absent /\n",
                &["/absent", "not found"],
            )?;
            // What is ignored is not there.
            s.file("ignored", "")?;
            s.file(".dockerignore", "ignored\n")?;
            s.refuses("FROM tiny\nCOPY ignored /\n", &["ignored", "not found"])
        }),
        case("error.target-unknown", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny AS one\n")?;
            s.fails(
                "docker build --target two .",
                1,
                &["target stage", "two", "could not be found"],
            )
            .or_else(|_| s.fails("docker build --target two .", 1, &["two", "could not be found"]))
        }),
        case("error.base-unknown", &[Need::NotBuildah, Need::Registry], |s| {
            s.refuses(
                "FROM 127.0.0.1:5000/absent:1\n",
                &["127.0.0.1:5000/absent:1", "not found"],
            )
        }),
        case("error.unset-variable", &[Need::NotBuildah], |s| {
            s.refuses("FROM tiny\nENV A=\"${B:?is needed}\"\n", &["B", "is needed"])?;
            s.refuses("FROM tiny\nARG B\nWORKDIR \"${B?say B}\"\n", &["say B"])
        }),
        case("error.empty-file", &[Need::Brig], |s| {
            s.refuses("", &["Dockerfile cannot be empty"])
        }),
        case("error.frontend-unknown", &[Need::Brig], |s| {
            s.refuses(
                "# syntax=example.com/other/frontend:1\nFROM tiny\n",
                &["example.com/other/frontend:1"],
            )?;
            s.builds(
                "known-frontend",
                "# syntax=docker/dockerfile:1.7-labs\nFROM tiny\nRUN true\n",
            )?;
            Ok(())
        }),
        case("error.suggestions", &[Need::Brig], |s| {
            for (wrong, right) in [
                ("COPPY a /", "COPY"),
                ("ENTRYPIONT x", "ENTRYPOINT"),
                ("WORKDR /x", "WORKDIR"),
                ("EXPOSS 1", "EXPOSE"),
                ("RUNN x", "RUN"),
            ] {
                let text = format!("FROM tiny\n{wrong}\n");
                s.refuses(&text, &["Dockerfile:2", &format!("did you mean {right}?"), "^^^"])?;
            }
            s.refuses("FROM tiny\nCOPY --form=x a /\n", &["did you mean from?"])
                .or_else(|_| s.refuses("FROM tiny\nCOPY --form=x a /\n", &["did you mean --from?"]))?;
            s.refuses("FROM tiny AS one\nFROM tiny\nCOPY --from=onee /a /\n", &["one"])
        }),
        case("error.security-not-allowed", &[Need::Brig], |s| {
            s.refuses(
                "# syntax=docker/dockerfile:1-labs\nFROM tiny\nRUN --security=insecure true\n",
                &["security.insecure", "not allowed"],
            )?;
            s.refuses(
                "FROM tiny\nRUN --network=host true\n",
                &["network.host", "not allowed"],
            )
        }),
        case("error.secret-file-absent", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\n")?;
            s.fails(
                "docker build --secret id=s,src=/absent .",
                1,
                &["failed to stat /absent"],
            )
        }),
        case("error.secret-required", &[Need::NotBuildah], |s| {
            s.refuses(
                "FROM tiny\nRUN --mount=type=secret,id=absent,required=true true\n",
                &["absent", "not found"],
            )
        }),
    ];
    // One wrong line each. BuildKit's words are kept where programs and people look for them.
    for (name, dockerfile, part) in WRONG {
        all.push(case(
            &format!("error.line.{name}"),
            &[Need::NotBuildah],
            move |s: &Scene| -> Done { s.refuses(dockerfile, &[part]) },
        ));
    }
    all
}

const WRONG: [(&str, &str, &str); 21] = [
    ("only-comments", "# nothing\n", "file with no instructions"),
    ("no-from", "RUN true\n", "no build stage in current context"),
    (
        "from-empty",
        "FROM\n",
        "FROM requires either one or three arguments",
    ),
    (
        "from-two",
        "FROM tiny AS\n",
        "FROM requires either one or three arguments",
    ),
    ("stage-name", "FROM tiny AS 1name\n", "1name"),
    (
        "unknown",
        "FROM tiny\nNONSENSE x\n",
        "nknown instruction: NONSENSE",
    ),
    (
        "env-empty",
        "FROM tiny\nENV\n",
        "ENV requires at least one argument",
    ),
    ("env-blank", "FROM tiny\nENV A\n", "ENV must have two arguments"),
    (
        "copy-one",
        "FROM tiny\nCOPY a\n",
        "COPY requires at least two arguments",
    ),
    ("copy-flag", "FROM tiny\nCOPY --nonsense=1 a /\n", "nonsense"),
    (
        "add-one",
        "FROM tiny\nADD a\n",
        "ADD requires at least two arguments",
    ),
    ("expose-wrong", "FROM tiny\nEXPOSE eighty\n", "eighty"),
    (
        "onbuild-from",
        "FROM tiny\nONBUILD FROM x\n",
        "FROM isn't allowed as an ONBUILD trigger",
    ),
    (
        "onbuild-onbuild",
        "FROM tiny\nONBUILD ONBUILD RUN x\n",
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    ),
    (
        "shell-form",
        "FROM tiny\nSHELL /bin/sh -c\n",
        "SHELL requires the arguments to be in JSON form",
    ),
    ("healthcheck-kind", "FROM tiny\nHEALTHCHECK WHAT x\n", "WHAT"),
    (
        "healthcheck-none",
        "FROM tiny\nHEALTHCHECK NONE x\n",
        "HEALTHCHECK NONE takes no arguments",
    ),
    (
        "healthcheck-interval",
        "FROM tiny\nHEALTHCHECK --interval=soon CMD x\n",
        "soon",
    ),
    (
        "stopsignal",
        "FROM tiny\nSTOPSIGNAL\n",
        "STOPSIGNAL requires exactly one argument",
    ),
    (
        "mount-type",
        "FROM tiny\nRUN --mount=type=nonsense,target=/x true\n",
        "nonsense",
    ),
    ("modifier", "FROM tiny\nENV A=${B:~x}\n", "~"),
];
