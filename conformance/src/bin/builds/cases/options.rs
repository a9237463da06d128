//! Options of the command line, and what they leave in the image.

use crate::case::{Case, Done, Need, Scene, case, field, has, is, lacks};
use crate::lab::REGISTRY;

pub fn cases() -> Vec<Case> {
    vec![
        case("option.target", &[], |s| {
            let told = s.builds_target(
                "two",
                "FROM tiny AS one\nENV STAGE=one\nFROM one AS two\nENV STAGE=two\nRUN echo in two\nFROM two AS three\nRUN exit 9\n",
            )?;
            has("what ran", &told, "in two")?;
            s.shows("target", "echo $STAGE", "two")?;
            s.build("--target ONE -t target .")?;
            s.shows("target", "echo $STAGE", "one")
        }),
        case("option.build-arg", &[], |s| {
            s.dockerfile(
                "ARG BASE=absent\nFROM $BASE\nARG GIVEN=default\nARG KEPT=default\nARG HOST\nARG EMPTY=default\n\
                 RUN echo \"$GIVEN $KEPT $HOST [$EMPTY]\" >/args\nENV SEEN=$GIVEN\n",
            )?;
            let line = format!(
                "HOST='from the host' docker build {} --build-arg BASE=tiny --build-arg GIVEN=given --build-arg HOST \
                 --build-arg EMPTY= -t args .",
                s.plain()
            );
            s.told(&line)?;
            s.shows(
                "args",
                "cat /args; echo $SEEN $GIVEN",
                "given default from the host []\ngiven",
            )?;
            let env = field(&s.config("args")?, "/Env");
            lacks("Env", &env, "GIVEN")?;
            has(
                "history",
                &s.must("docker history --no-trunc args")?,
                "ARG GIVEN=given",
            )
            .or_else(|_| {
                has(
                    "history",
                    &s.must("docker history --no-trunc args")?,
                    "GIVEN=given",
                )
            })
        }),
        case("option.build-arg-unused", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\n")?;
            let told = s.build("--build-arg NOBODY=1 -t unused-arg .")?;
            has("warning", &told, "[Warning] One or more build-args")?;
            has("warning", &told, "NOBODY")?;
            has("warning", &told, "were not consumed")
        }),
        case("option.proxies", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN echo $http_proxy $NO_PROXY >/proxies\n")?;
            let words = "--build-arg http_proxy=http://p:1 --build-arg NO_PROXY=a -t proxied .";
            s.build(words)?;
            s.shows("proxied", "cat /proxies; echo [$http_proxy]", "http://p:1 a\n[]")?;
            lacks(
                "history",
                &s.must("docker history --no-trunc proxied")?,
                "http://p:1",
            )?;
            // Another proxy is no other step.
            let again = s.build("--build-arg http_proxy=http://other:1 -t proxied .")?;
            crate::case::was_cached(&again, "RUN echo $http_proxy", true)
        }),
        case("option.tags", &[], |s| {
            s.dockerfile("FROM tiny\nLABEL many=tags\n")?;
            s.build("-t many:1 -t many:2 --tag other/name .")?;
            let id = s.id("many:1")?;
            is("the second", s.id("many:2")?, &id)?;
            is("the third", s.id("other/name:latest")?, &id)
        }),
        case("option.no-tag", &[], |s| {
            s.dockerfile("FROM tiny\nLABEL no=tag\n")?;
            let id = s.must("docker build -q .")?;
            is(
                "labels",
                s.must(&format!(
                    "docker image inspect --format '{{{{.Config.Labels.no}}}}' {id}"
                ))?,
                "tag",
            )
        }),
        case("option.quiet", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN echo loud; echo louder >&2\n")?;
            let o = s.sh("docker build --quiet -t silent .")?;
            is("code", o.code, 0)?;
            is("stderr", &o.stderr, "")?;
            is("stdout", &o.stdout, format!("{}\n", s.id("silent")?))?;
            s.dockerfile("FROM tiny\nRUN echo broken >&2; exit 3\n")?;
            let o = s.sh("docker build --quiet .")?;
            is("code", o.code, 1)?;
            is("stdout", &o.stdout, "")?;
            has("stderr", &o.stderr, "broken")
        }),
        case("option.iidfile", &[], |s| {
            s.dockerfile("FROM tiny\nLABEL iid=file\n")?;
            s.build("--iidfile id -t written .")?;
            is("the file", s.read("id")?.trim_end(), s.id("written")?.trim_end())
        }),
        case("option.metadata-file", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nLABEL meta=data\n")?;
            s.build("--metadata-file meta.json -t described:1 .")?;
            let meta = s.json("meta.json")?;
            is(
                "the configuration's digest",
                field(&meta, "/containerimage.config.digest"),
                format!("\"{}\"", s.id("described:1")?),
            )?;
            has("the digest", &field(&meta, "/containerimage.digest"), "\"sha256:")?;
            is(
                "the name",
                field(&meta, "/image.name"),
                "\"docker.io/library/described:1\"",
            )
        }),
        case("option.label", &[], |s| {
            s.dockerfile("FROM tiny\nLABEL a=file b=file\n")?;
            s.build("--label b=line --label c --label 'd=two words' -t labelled .")?;
            let labels = field(&s.config("labelled")?, "/Labels");
            has(
                "labels",
                &labels,
                r#""a":"file","b":"line","c":"","d":"two words""#,
            )
        }),
        case("option.file", &[Need::NotBuildah], |s| {
            s.file("context/note", "data\n")?;
            s.file(
                "elsewhere/My.Dockerfile",
                "FROM tiny\nCOPY note /\nENV F=outside\n",
            )?;
            s.file(
                "context/inner/Dockerfile.inner",
                "FROM tiny\nCOPY note /\nENV F=inside\n",
            )?;
            s.build("-f elsewhere/My.Dockerfile -t filed context")?;
            s.shows("filed", "cat /note; echo $F", "data\noutside")?;
            s.build("-f context/inner/Dockerfile.inner -t filed context")?;
            s.shows("filed", "echo $F", "inside")?;
            let line = format!("docker build {} -f - -t filed context", s.plain());
            s.hears(&line, "FROM tiny\nCOPY note /\nENV F=stdin\n")?.ok()?;
            s.shows("filed", "cat /note; echo $F", "data\nstdin")
        }),
        case("option.file-small-letters", &[Need::Brig], |s| {
            s.file("dockerfile", "FROM tiny\nENV F=small\n")?;
            s.build("-t small-letters .")?;
            s.shows("small-letters", "echo $F", "small")
        }),
        case("option.platform", &[Need::NotBuildah], |s| {
            s.dockerfile(
                "FROM tiny\nARG TARGETPLATFORM TARGETOS TARGETARCH BUILDPLATFORM\n\
                 RUN echo \"$TARGETPLATFORM $TARGETOS $TARGETARCH $BUILDPLATFORM\" >/platform\n",
            )
            .and_then(|()| {
                s.dockerfile(
                    "FROM tiny\nARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nARG BUILDPLATFORM\n\
                     RUN echo \"$TARGETPLATFORM $TARGETOS $TARGETARCH $BUILDPLATFORM\" >/platform\n",
                )
            })?;
            let own = match std::env::consts::ARCH {
                "aarch64" => "arm64",
                _ => "amd64",
            };
            s.build(&format!("--platform linux/{own} -t platformed ."))?;
            s.shows(
                "platformed",
                "cat /platform",
                &format!("linux/{own} linux {own} linux/{own}"),
            )
        }),
        case("option.platform-of-from", &[Need::Brig, Need::Registry], |s| {
            // As programs are built for other machines: the compiler runs here, only what it makes is for there.
            s.dockerfile(
                "FROM --platform=$BUILDPLATFORM tiny AS tool\nARG TARGETARCH\nRUN echo for $TARGETARCH >/made\nWORKDIR /w\n\
                 FROM tool AS more\nRUN echo more >>/made\nFROM scratch\nCOPY --from=more /made /\n",
            )?;
            s.build("--platform linux/s390x -o out .")?;
            is("what was made", s.read("out/made")?, "for s390x\nmore\n")?;
            // An image of both, by its name and out of a directory.
            s.dockerfile("FROM scratch\nARG TARGETARCH\nCOPY <<E /arch\n$TARGETARCH\nE\n")?;
            let own = s.must("docker image inspect --format {{.Architecture}} tiny")?;
            let both = format!("--platform linux/{own},linux/s390x");
            s.must(&format!(
                "docker build -q {both} -o type=oci,dest=lay,tar=false ."
            ))?;
            s.must(&format!(
                "docker build -q {both} -t {REGISTRY}/both:1 --push . && docker rmi {REGISTRY}/both:1"
            ))?;
            for (base, context) in [
                ("both", "--build-context both=oci-layout://$PWD/lay".to_owned()),
                (
                    "both",
                    format!("--build-context both=docker-image://{REGISTRY}/both:1"),
                ),
                (&*format!("{REGISTRY}/both:1"), String::new()),
            ] {
                // The platform of the stage is not that of what it takes files from.
                s.dockerfile(&format!(
                    "FROM --platform=$BUILDPLATFORM {base} AS here\nCOPY --from={base} /arch /taken\n\
                     FROM {base} AS there\nFROM --platform=linux/s390x {base} AS named-s390x\n\
                     FROM scratch\nCOPY --from=here /arch /here\nCOPY --from=here /taken /taken\n\
                     COPY --from=there /arch /there\nCOPY --from=named-s390x /arch /named\n"
                ))?;
                for (target, architecture) in [("s390x", "s390x"), (own.as_str(), own.as_str())] {
                    s.must("rm -rf out")?;
                    s.build(&format!("--platform linux/{target} {context} -o out ."))?;
                    let found =
                        ["here", "taken", "there", "named"].map(|name| s.read(&format!("out/{name}")));
                    let found: Result<Vec<String>, String> = found.into_iter().collect();
                    is(
                        &format!("the files for {target}"),
                        found?.concat().replace('\n', " "),
                        format!("{own} {architecture} {architecture} s390x "),
                    )?;
                }
            }
            s.refuses(
                "FROM --platform=amd46 tiny\n",
                &["failed to parse platform amd46"],
            )
        }),
        case("option.platform-other", &[Need::Brig], |s| {
            // Nothing has to run, so no emulator is needed.
            s.file("a", "a\n")?;
            s.dockerfile("FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY a /\n")?;
            s.build("--platform linux/s390x -t other-arch .")?;
            s.prints(
                "docker image inspect --format '{{.Architecture}} {{.Config.Labels.arch}}' other-arch",
                "s390x s390x",
            )
        }),
        case("option.build-context", &[Need::Brig], |s| {
            s.file("first/f", "first\n")?;
            s.file("second/f", "second\n")?;
            s.dockerfile(
                "FROM base\nCOPY --from=other f /f\nCOPY --from=stage f /g\nRUN --mount=from=other,target=/m cp /m/f /h\n\
                 FROM tiny AS stage\nRUN exit 9\nFROM base\n",
            )?;
            let ordered = "FROM tiny AS stage\nRUN exit 9\nFROM base\nUSER root\nCOPY --from=other f /f\nCOPY --from=stage f /g\n\
                           RUN --mount=from=other,target=/m cp /m/f /h\n";
            s.dockerfile(ordered)?;
            s.build(
                "--build-context base=docker-image://full --build-context other=first --build-context stage=second -t contexts .",
            )?;
            s.shows(
                "contexts",
                "cat /f /g /h; echo $COLOUR",
                "first\nsecond\nfirst\nblue",
            )
        }),
        case("option.resources", &[Need::Brig], |s| {
            s.dockerfile(
                "FROM tiny\nRUN df -k /dev/shm | awk 'NR == 2 {print $2}' >/shm; ulimit -n >/files\n",
            )?;
            s.build("--shm-size 8m --ulimit nofile=321:321 -t limited .")?;
            s.shows("limited", "cat /shm /files", "8192\n321")
        }),
        case("option.equals-and-clusters", &[Need::NotBuildah], |s| {
            s.file("D", "FROM tiny\nLABEL form=equals\n")?;
            s.must("docker build --tag=forms --file=D --no-cache=true -q=true .")?;
            s.prints(
                "docker image inspect --format '{{.Config.Labels.form}}' forms",
                "equals",
            )?;
            s.must("docker image build -qt forms -f D . && docker builder build -qt forms -fD .")?;
            Ok(())
        }),
        case("option.buildx", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nLABEL by=buildx\n")?;
            s.must("docker buildx build --load -q -t by-buildx .")?;
            s.prints(
                "docker image inspect --format '{{.Config.Labels.by}}' by-buildx",
                "buildx",
            )
        }),
        case("option.squash", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN echo 1 >/a\nRUN echo 2 >/b && rm /a\n")?;
            // As buildx: it is said, and the image is built as it stands.
            let told = s.told("docker build --squash -t squashed .")?;
            has(
                "what was told",
                &told,
                "experimental flag squash is removed with BuildKit",
            )?;
            s.shows("squashed", "cat /b; test ! -e /a", "2")
        }),
        case("option.config-fields", &[], config_fields),
    ]
}

/// Every instruction that only says something about the image.
fn config_fields(s: &Scene) -> Done {
    s.builds(
        "fields",
        "FROM tiny
USER guest:staff
WORKDIR /srv
WORKDIR app
SHELL [\"/bin/sh\", \"-ec\"]
HEALTHCHECK --interval=5s --timeout=2s --start-period=1m --retries=4 CMD [\"true\", \"x\"]
STOPSIGNAL SIGUSR1
VOLUME [\"/one\", \"/two\"]
VOLUME /three
EXPOSE 80 53/udp 7000-7002
LABEL one=1 two=\"a b\"
LABEL three three
ENV A=1 B=\"$A x\" C='$A'
ENV D the rest of the line
ENTRYPOINT [\"/bin/tell\"]
CMD [\"a\", \"b\"]
MAINTAINER a person
",
    )?;
    let config = s.config("fields")?;
    for (pointer, expected) in [
        ("/User", r#""guest:staff""#),
        ("/WorkingDir", r#""/srv/app""#),
        ("/Healthcheck/Test", r#"["CMD","true","x"]"#),
        ("/Healthcheck/Interval", "5000000000"),
        ("/Healthcheck/Timeout", "2000000000"),
        ("/Healthcheck/StartPeriod", "60000000000"),
        ("/Healthcheck/Retries", "4"),
        ("/StopSignal", r#""SIGUSR1""#),
        ("/Volumes", r#"{"/one":{},"/three":{},"/two":{}}"#),
        (
            "/ExposedPorts",
            r#"{"53/udp":{},"7000/tcp":{},"7001/tcp":{},"7002/tcp":{},"80/tcp":{}}"#,
        ),
        ("/Entrypoint", r#"["/bin/tell"]"#),
        ("/Cmd", r#"["a","b"]"#),
        ("/Labels/two", r#""a b""#),
        ("/Labels/three", r#""three""#),
    ] {
        is(pointer, field(&config, pointer), expected)?;
    }
    has(
        "Env",
        &field(&config, "/Env"),
        r#""A=1","B= x","C=$A","D=the rest of the line""#,
    )?;
    s.prints("docker image inspect --format '{{.Author}}' fields", "a person")?;
    s.prints("docker run --rm --network none fields", "got 2 arguments: a b")
}

impl Scene<'_> {
    fn builds_target(&self, target: &str, dockerfile: &str) -> Result<String, String> {
        self.dockerfile(dockerfile)?;
        self.build(&format!("--target {target} -t target ."))
    }
}
