//! Syntax that is newer than the builders of the packages, against expectations written by hand.

use crate::case::{Case, Done, Need, Scene, case, field, has, is, was_cached};
use crate::lab::GIT;
use crate::web;

const BRIG: &[Need] = &[Need::Brig];

pub fn cases() -> Vec<Case> {
    vec![
        case("heredoc.run", BRIG, |s| {
            s.builds(
                "heredoc",
                "FROM tiny
ARG WHO=world
RUN <<EOF
echo \"hello $WHO\" >/one
cd /tmp
pwd >>/one
EOF
RUN <<-'EOF'
	echo indented >/two
	EOF
RUN cat <<A >/three && cat <<B >>/three
first $WHO
A
second
B
RUN <<EOF
#!/bin/awk -f
BEGIN { print \"by awk\" >\"/four\" }
EOF
RUN sh -s <<\"EOF\" argument
echo $1 >/five
EOF
",
            )?;
            s.shows(
                "heredoc",
                "cat /one /two /three /four /five",
                "hello world\n/tmp\nindented\nfirst world\nsecond\nby awk\nargument",
            )
        }),
        case("heredoc.run-fails", BRIG, |s| {
            s.dockerfile("FROM tiny\nRUN <<EOF\nset -e\nfalse\necho never\nEOF\n")?;
            s.fails("docker build .", 1, &["exit code: 1", "Dockerfile:2"])
        }),
        case("heredoc.copy", BRIG, |s| {
            s.builds(
                "heredoc-copy",
                "FROM tiny
ENV V=value
COPY <<one.txt <<-\"two.txt\" /srv/
expanded $V \\$V ${UNSET:-default}
one.txt
	raw $V
two.txt
COPY --chmod=0750 --chown=1000:50 <<EOF /srv/script
#!/bin/sh
echo ran
EOF
ADD <<EOF /srv/added
text
EOF
COPY <<EOF /srv/dir/
nameless
EOF
",
            )?;
            s.shows(
                "heredoc-copy",
                "cd /srv; cat one.txt two.txt added dir/EOF; ./script; stat -c \"%a %u:%g %n\" one.txt script",
                "expanded value $V default\nraw $V\ntext\nnameless\nran\n644 0:0 one.txt\n750 1000:50 script",
            )
        }),
        case("heredoc.unfinished", BRIG, |s| {
            s.refuses("FROM tiny\nRUN <<EOF\necho\n", &["unterminated heredoc"])
        }),
        case("copy.chmod", BRIG, |s| {
            s.file("d/plain", "")?;
            s.file("d/program", "")?;
            s.mode("d/program", 0o755)?;
            s.builds(
                "chmod",
                "FROM tiny\nARG M=600\nCOPY --chmod=u=rwX,go=rX d /symbolic/\nCOPY --chmod=$M d/plain /octal\n\
                 COPY --chmod=go-r,a+x d/plain /relative\nADD --chmod=1777 d /added/\nCOPY --chmod=4755 d/program /suid\n",
            )?;
            s.shows(
                "chmod",
                "stat -c \"%a %n\" /symbolic /symbolic/* /octal /relative /added /added/plain /suid",
                "755 /symbolic\n644 /symbolic/plain\n755 /symbolic/program\n600 /octal\n711 /relative\n1777 /added\n\
                 1777 /added/plain\n4755 /suid",
            )
        }),
        case("copy.link", BRIG, link),
        case("copy.parents", BRIG, |s| {
            for path in [
                "a/b/c/one.txt",
                "a/b/two.txt",
                "a/x/one.txt",
                "top.txt",
                "a/b/c/other.md",
            ] {
                s.file(path, &format!("{path}\n"))?;
            }
            s.builds(
                "parents",
                "FROM tiny
COPY --parents a/b/c/one.txt top.txt /named/
COPY --parents a/./b/**/*.txt /pivot/
COPY --parents **/one.txt /any/
COPY --parents a/*/one.txt /star/
COPY --parents ./a/x /dir/
",
            )?;
            s.shows(
                "parents",
                "for d in named pivot any star dir; do cd /$d; find . -type f | sort; done",
                "./a/b/c/one.txt\n./top.txt\n./b/c/one.txt\n./b/two.txt\n./a/b/c/one.txt\n./a/x/one.txt\n\
                 ./a/x/one.txt\n./a/x/one.txt",
            )
        }),
        case("copy.exclude", BRIG, |s| {
            for path in ["d/a.txt", "d/b.md", "d/sub/c.txt", "d/sub/d.md", "d/keep.md"] {
                s.file(path, "")?;
            }
            s.builds(
                "exclude",
                "FROM tiny
COPY --exclude=*.md d /flat/
COPY --exclude=**/*.md --exclude=sub/c.txt d /deep/
COPY --exclude=**/*.md --exclude=!keep.md d /again/
ADD --exclude=sub d /added/
",
            )?;
            s.shows(
                "exclude",
                "for d in flat deep again added; do cd /$d; echo $(find . -type f | sort); done",
                "./a.txt ./sub/c.txt ./sub/d.md\n./a.txt\n./a.txt ./keep.md ./sub/c.txt\n./a.txt ./b.md ./keep.md",
            )
        }),
        case("add.checksum", BRIG, |s| {
            let address = s.lab.web.put("summed", b"summed\n")?;
            let sum = s.must("printf 'summed\\n' | sha256sum | cut -d' ' -f1")?;
            s.builds(
                "checksum",
                &format!("FROM tiny\nADD --checksum=sha256:{sum} {address} /f\n"),
            )?;
            s.shows("checksum", "cat /f", "summed")?;
            let wrong = "0".repeat(64);
            s.refuses(
                &format!("FROM tiny\nADD --checksum=sha256:{wrong} {address} /f\n"),
                &[&sum, &wrong],
            )?;
            s.refuses(
                &format!("FROM tiny\nADD --checksum=nonsense {address} /f\n"),
                &["nonsense"],
            )
        }),
        case("add.url", &[Need::NotBuildah], |s| {
            let address = s.lab.web.put("plain.txt", b"from the web\n")?;
            s.builds(
                "add-url",
                &format!("FROM tiny\nADD {address} /dir/\nADD {address} /renamed\n"),
            )?;
            s.shows(
                "add-url",
                "cat /dir/plain.txt; stat -c \"%a %u:%g %Y\" /renamed",
                &format!("from the web\n600 0:0 {}", web::CHANGED_SECONDS),
            )?;
            // The same content is the same step, other content is another.
            let again = s.build("-t add-url .")?;
            was_cached(&again, "plain.txt /renamed", true)?;
            s.lab.web.put("plain.txt", b"changed\n")?;
            s.build("-t add-url .")?;
            s.shows("add-url", "cat /renamed", "changed")?;
            s.refuses(
                "FROM tiny\nADD http://127.0.0.1:8000/absent /f\n",
                &["http://127.0.0.1:8000/absent"],
            )
        }),
        case("add.url-once", BRIG, |s| {
            let address = s.lab.web.put("once.txt", b"first\n")?;
            let dockerfile = format!("FROM tiny\nADD {address} /f\n");
            s.dockerfile(&dockerfile)?;
            let sent = s.lab.web.sent();
            let build = |words: &str, is_cached: bool, times: usize, text: &str| -> Done {
                let told = s.build(&format!("{words} -t once ."))?;
                was_cached(&told, "once.txt /f", is_cached)?;
                is(
                    &format!("how often it was sent, {words} {text}"),
                    s.lab.web.sent() - sent,
                    times,
                )?;
                s.shows("once", "cat /f", text)
            };
            build("", false, 1, "first")?;
            // Asked for, and not sent again.
            build("", true, 1, "first")?;
            s.lab.web.put("once.txt", b"second\n")?;
            build("", false, 2, "second")?;
            build("", true, 2, "second")?;
            build("--no-cache", false, 3, "second")?;
            // On top of something else it is needed again.
            s.dockerfile(&dockerfile.replace("ADD", "RUN touch /g\nADD"))?;
            build("", false, 4, "second")?;
            s.must("docker buildx du --verbose | grep -q 'http url'")?;
            s.must("docker builder prune -af")?;
            build("", false, 5, "second")
        }),
        case("add.url-archive", BRIG, |s| {
            s.must("mkdir t && echo inside >t/f && tar czf a.tar.gz -C t f")?;
            let bytes = std::fs::read(s.dir.join("a.tar.gz")).map_err(|e| e.to_string())?;
            let address = s.lab.web.put("a.tar.gz", &bytes)?;
            // From the web an archive stays one, unless it is asked for; from the context the other way round.
            s.builds(
                "unpack",
                &format!(
                    "FROM tiny\nADD {address} /packed/\nADD --unpack=true {address} /open/\nADD a.tar.gz /local/\n\
                     ADD --unpack=false a.tar.gz /closed/\n"
                ),
            )?;
            s.shows(
                "unpack",
                "cd /; for d in packed open local closed; do echo $d $(ls /$d); done",
                "packed a.tar.gz\nopen f\nlocal f\nclosed a.tar.gz",
            )
        }),
        case("add.git", &[Need::Brig, Need::Git], |s| {
            repository(s, "added.git")?;
            s.builds(
                "add-git",
                &format!(
                    "FROM tiny\nADD {GIT}/added.git /whole\nADD {GIT}/added.git#first:sub /part\n\
                     ADD --keep-git-dir=true {GIT}/added.git#main /kept\n"
                ),
            )?;
            s.shows(
                "add-git",
                "cat /whole/file /part/inner; ls -A /whole; test -d /kept/.git && echo kept",
                "second\ninner\nDockerfile\nfile\nsub\nkept",
            )
        }),
        case("onbuild.chain", &[Need::NotBuildah], |s| {
            s.file("data", "data\n")?;
            s.builds(
                "trigger",
                "FROM tiny\nONBUILD COPY data /from-trigger\nONBUILD RUN echo triggered | tee /ran\nONBUILD ENV T=set\n",
            )?;
            let config = s.config("trigger")?;
            is(
                "OnBuild",
                field(&config, "/OnBuild"),
                r#"["COPY data /from-trigger","RUN echo triggered | tee /ran","ENV T=set"]"#,
            )?;
            s.builds("triggered", "FROM trigger\nRUN cat /ran >/after\n")?;
            s.shows(
                "triggered",
                "cat /from-trigger /after; echo $T",
                "data\ntriggered\nset",
            )?;
            let left = field(&s.config("triggered")?, "/OnBuild");
            is("OnBuild", left == "null" || left == "nothing", true)
        }),
        case("onbuild.heredoc", BRIG, |s| {
            s.builds(
                "trigger-heredoc",
                "FROM tiny\nONBUILD RUN <<EOF\necho one >/a\necho two >>/a\nEOF\n",
            )?;
            s.builds("triggered-heredoc", "FROM trigger-heredoc\n")?;
            s.shows("triggered-heredoc", "cat /a", "one\ntwo")
        }),
        case("onbuild.from-stage", BRIG, |s| {
            s.builds("trigger-stage", "FROM tiny\nONBUILD COPY --from=later /x /x\n")?;
            s.builds(
                "triggered-stage",
                "FROM tiny AS later\nRUN echo later >/x\nFROM trigger-stage\n",
            )?;
            s.shows("triggered-stage", "cat /x", "later")
        }),
        case("arg.several", BRIG, |s| {
            s.builds(
                "arg-several",
                "FROM tiny\nARG A=1 B=\"two words\" C\nRUN echo \"$A-$B-$C\" >/a\n",
            )?;
            s.shows("arg-several", "cat /a", "1-two words-")
        }),
        case("expansion.newer", BRIG, |s| {
            s.builds(
                "expansion",
                "FROM tiny
ARG V=path/to/file.tar.gz
ENV A=${V#*/} B=${V##*/} C=${V%.*} D=${V%%.*} E=${V/a/A} F=${V//a/A} G=${V-x} H=${U-x} I=${U:+x} J=${V:+x}
",
            )?;
            s.shows(
                "expansion",
                "echo $A $B $C $D $E $F $G $H [$I] $J",
                "to/file.tar.gz file.tar.gz path/to/file.tar path/to/file pAth/to/file.tar.gz pAth/to/file.tAr.gz \
                 path/to/file.tar.gz x [] x",
            )
        }),
        case("healthcheck.start-interval", BRIG, |s| {
            s.builds(
                "start-interval",
                "FROM tiny\nHEALTHCHECK --start-interval=250ms --start-period=1s CMD true\n",
            )?;
            is(
                "StartInterval",
                field(&s.config("start-interval")?, "/Healthcheck/StartInterval"),
                "250000000",
            )
        }),
        case("stage.target-argument", BRIG, |s| {
            s.dockerfile("FROM tiny AS here\nARG TARGETSTAGE\nRUN echo $TARGETSTAGE >/stage\n")?;
            s.build("--target here -t target-stage .")?;
            s.shows("target-stage", "cat /stage", "here")
        }),
        case("warnings.lints", BRIG, |s| {
            s.dockerfile(
                "FROM tiny as One\nMAINTAINER x\nENV a b\nCMD a b\ncmd c d\nRUN echo $UNDEF\nENV PASSWORD=x\nWORKDIR $NOWHERE\n",
            )?;
            let told = s.build("-t linted .")?;
            for rule in [
                "FromAsCasing",
                "MaintainerDeprecated",
                "LegacyKeyValueFormat",
                "JSONArgsRecommended",
                "MultipleInstructionsDisallowed",
                "SecretsUsedInArgOrEnv",
                "ConsistentInstructionCasing",
                "StageNameCasing",
                "UndefinedVar",
            ] {
                has("what was told", &told, rule)?;
            }
            Ok(())
        }),
    ]
}

fn link(s: &Scene) -> Done {
    s.file("f", "linked\n")?;
    s.builds(
        "copy-link",
        "FROM tiny\nRUN mkdir /real && ln -s /real /way\nUSER 1000\nCOPY --link f /way/f\n\
         COPY --link --chown=5:6 f /new/deep/f\nCOPY --link --from=full /data/seed /seed\n",
    )?;
    // The layer knows nothing of what is below: the link is replaced by a directory.
    s.shows(
        "copy-link",
        "test -L /way || echo no link; cat /way/f /seed; ls /real; stat -c \"%a %u:%g %n\" /way/f /new/deep /new/deep/f",
        "no link\nlinked\nfrom the image\n644 0:0 /way/f\n755 5:6 /new/deep\n644 5:6 /new/deep/f",
    )?;
    // Another base is no other layer.
    let layer = || s.must("docker image inspect --format '{{index .RootFS.Layers 1}}' linked-alone");
    s.builds("linked-alone", "FROM tiny\nCOPY --link f /f\n")?;
    let first = layer()?;
    let told = s.builds("linked-alone", "FROM busybox\nLABEL x=y\nCOPY --link f /f\n")?;
    is("the layer on another base", layer()?, first)?;
    was_cached(&told, "COPY --link f /f", true)?;
    s.refuses("FROM tiny\nCOPY --link --chown=guest f /\n", &["guest"])
}

/// A repository that git serves: a tag `first`, and a branch `main` that is one commit further.
pub fn repository(s: &Scene, name: &str) -> Done {
    let bare = s.lab.repositories().join(name);
    s.must(&format!(
        "mkdir work && cd work && git init -q -b main && git config user.name x && git config user.email x@example.org &&
         mkdir sub && echo inner >sub/inner && echo first >file &&
         printf 'FROM tiny\\nCOPY . /repository\\n' >Dockerfile &&
         printf 'FROM tiny\\nCOPY inner /inner\\n' >sub/Dockerfile &&
         git add . && git commit -qm first && git tag first && echo second >file && git commit -qam second &&
         rm -rf {0} && git clone -q --bare . {0}",
        bare.display()
    ))
    .map(|_| ())
}
