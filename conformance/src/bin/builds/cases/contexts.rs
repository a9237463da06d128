//! Where a context comes from, and what of it counts.

use crate::case::{Case, Done, Need, Scene, case, has, is, was_cached};
use crate::cases::newer::repository;
use crate::lab::GIT;

pub fn cases() -> Vec<Case> {
    vec![
        case("context.git-daemon", &[Need::Git, Need::NotBuildah], |s| {
            repository(s, "context.git")?;
            s.build(&format!("-t from-git {GIT}/context.git#main"))?;
            s.shows(
                "from-git",
                "cat /repository/file; ls -A /repository",
                "second\nDockerfile\nfile\nsub",
            )?;
            s.build(&format!("-t from-git {GIT}/context.git#first"))?;
            s.shows("from-git", "cat /repository/file", "first")?;
            s.fails(&format!("docker build {GIT}/context.git#absent"), 1, &["absent"])?;
            if s.is_brig() {
                s.build(&format!("-t from-git {GIT}/context.git#main:sub"))?;
                s.shows("from-git", "cat /inner", "inner")?;
                let at = s.lab.repositories().join("context.git");
                let commit = s.must(&format!("git -C {} rev-parse first", at.display()))?;
                s.build(&format!("-t from-git {GIT}/context.git#{commit}"))?;
                s.shows("from-git", "cat /repository/file", "first")?;
            }
            Ok(())
        }),
        case("context.from-files", &[Need::Brig], |s| {
            // FROM a directory: its files are the root. What is left out of it is not there.
            s.must("mkdir root && docker save tiny >/dev/null && docker create --name whole tiny && docker export whole | tar x -C root && docker rm whole")?;
            s.file("root/.dockerignore", "left-out\n")?;
            s.file("root/left-out", "x\n")?;
            s.file("root/there", "x\n")?;
            s.must("chown 1000:50 root/there && chmod 4755 root/there")?;
            s.dockerfile("FROM files AS a\nRUN stat -c %u:%g:%a /there >/seen; ls /left-out || echo gone >>/seen\nFROM a\nRUN cat /seen >/again\n")?;
            let words = "--build-context files=./root -t from-files .";
            let told = s.build(words)?;
            has("what was told", &told, "FROM files")?;
            s.shows("from-files", "cat /again", "0:0:4755\ngone")?;
            is(
                "PATH",
                s.inside("from-files", "echo $PATH")?,
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )?;
            let again = s.build(words)?;
            was_cached(&again, "FROM files", true)?;
            was_cached(&again, "RUN stat", true)?;
            has(
                "history",
                &s.must("docker history --no-trunc from-files")?,
                "FROM files AS a",
            )?;
            // It is a step like others: caches take it along.
            s.must("docker build -q --build-context files=./root --cache-to type=local,dest=cache,mode=max . && docker rmi from-files && docker builder prune -af")?;
            let brought = s.build(&format!("--cache-from type=local,src=cache {words}"))?;
            was_cached(&brought, "FROM files", true)?;
            was_cached(&brought, "RUN stat", true)?;
            s.shows("from-files", "cat /again", "0:0:4755\ngone")?;
            s.file("root/there", "y\n")?;
            was_cached(&s.build(words)?, "RUN stat", false)?;
            // The whole image, and a stage of the Dockerfile that a context stands for.
            s.dockerfile("FROM files\n")?;
            s.build(words)?;
            s.shows("from-files", "cat /there", "y")?;
            s.dockerfile("FROM tiny AS files\nRUN false\nFROM files\nCOPY --from=files /there /copied\n")?;
            s.build(words)?;
            s.shows("from-files", "cat /copied", "y")
        }),
        case("context.oci-layout", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN echo one >/which\nENV A=b\nONBUILD RUN echo triggered >/trigger\n")?;
            s.build("-o type=oci,dest=one,tar=false -t example.com/own:one .")?;
            s.dockerfile("FROM tiny\nRUN echo two >/which\n")?;
            s.build("-o type=oci,dest=two.tar -t example.com/own:two .")?;
            s.must("mkdir two && tar xf two.tar -C two && rm two.tar && docker builder prune -af")?;
            s.dockerfile(
                "FROM base\nRUN cat /which >/seen; echo $A >>/seen; cat /trigger >>/seen || true\n",
            )?;
            for (context, seen) in [
                // The only one, whatever it is called.
                ("oci-layout://one", "one\nb\ntriggered"),
                ("oci-layout://one:one", "one\nb\ntriggered"),
                ("oci-layout://two", "two\n"),
            ] {
                s.build(&format!("--build-context base={context} -t from-layout ."))?;
                s.shows("from-layout", "cat /seen", seen)?;
            }
            let digest = s.must("python3 -c 'import json; print(json.load(open(\"two/index.json\"))[\"manifests\"][0][\"digest\"])'")?;
            s.build(&format!(
                "--build-context base=oci-layout://two@{digest} -t from-layout ."
            ))?;
            s.shows("from-layout", "cat /seen", "two\n")?;
            // Nothing of the layout was taken away, and COPY takes of it.
            s.dockerfile("FROM scratch\nCOPY --from=base /which /\n")?;
            s.build("--build-context base=oci-layout://one -o out .")?;
            is("which", s.read("out/which")?, "one\n")?;
            let absent = format!("sha256:{}", "0".repeat(64));
            for (context, why) in [
                (format!("two@{absent}"), format!("it has no {absent}")),
                ("out".to_owned(), "is no OCI layout".to_owned()),
                ("nowhere".to_owned(), "is no OCI layout".to_owned()),
            ] {
                s.fails(
                    &format!("docker build --build-context base=oci-layout://{context} ."),
                    1,
                    &[&why],
                )?;
            }
            // A damaged layer is found.
            s.must("for f in two/blobs/sha256/*; do test $(head -c1 $f) = { || printf x | dd of=$f bs=1 seek=20 conv=notrunc status=none; done; docker image prune -f; docker rmi -f from-layout; docker builder prune -af")?;
            s.dockerfile("FROM base\nRUN cat /which\n")?;
            let o = s.sh("docker build --build-context base=oci-layout://two .")?;
            is(&o.stderr, o.code, 1)
        }),
        case("context.git-file", &[Need::Brig, Need::Program("git")], git_file),
        case("context.git-is-cached", &[Need::Brig, Need::Git], |s| {
            repository(s, "cached.git")?;
            s.build(&format!("-t git-cached {GIT}/cached.git#main"))?;
            let told = s.build(&format!("-t git-cached {GIT}/cached.git#main"))?;
            was_cached(&told, "COPY . /repository", true)
        }),
        case("context.stdin-dockerfile", &[Need::NotBuildah], |s| {
            s.hears(
                &format!("docker build {} -t from-stdin -", s.plain()),
                "FROM tiny\nRUN echo stdin >/f\n",
            )?
            .ok()?;
            s.shows("from-stdin", "cat /f", "stdin")
        }),
        case("context.stdin-archive", &[Need::NotBuildah], stdin_archive),
        case("context.http-archive", &[Need::NotBuildah], |s| {
            s.file("c/Dockerfile", "FROM tiny\nCOPY f /f\n")?;
            s.file("c/f", "from the web\n")?;
            s.must("tar czf c.tar.gz -C c .")?;
            let bytes = std::fs::read(s.dir.join("c.tar.gz")).map_err(|e| e.to_string())?;
            let address = s.lab.web.put("context.tar.gz", &bytes)?;
            s.build(&format!("-t from-http {address}"))?;
            s.shows("from-http", "cat /f", "from the web")?;
            s.fails(
                "docker build http://127.0.0.1:8000/absent.tar.gz",
                1,
                &["absent.tar.gz"],
            )
        }),
        case("context.http-dockerfile", &[Need::NotBuildah], |s| {
            let address = s.lab.web.put("Dockerfile.web", b"FROM tiny\nENV F=web\n")?;
            s.build(&format!("-t http-dockerfile {address}"))?;
            s.shows("http-dockerfile", "echo $F", "web")
        }),
        case("context.dockerfile-url", &[Need::Brig], |s| {
            s.file("f", "here\n")?;
            let address = s.lab.web.put("Dockerfile.copy", b"FROM tiny\nCOPY f /f\n")?;
            s.build(&format!("-f {address} -t url-dockerfile ."))?;
            s.shows("url-dockerfile", "cat /f", "here")
        }),
        case("ignore.rules", &[Need::NotBuildah], ignore_rules),
        case("ignore.own-file", &[Need::NotBuildah], |s| {
            s.file("a", "")?;
            s.file("b", "")?;
            s.file("My", "FROM tiny\nCOPY . /c/\n")?;
            s.file("My.dockerignore", "a\nMy*\n.docker*\n")?;
            s.file(".dockerignore", "b\n")?;
            s.build("-f My -t ignore-own .")?;
            s.shows("ignore-own", "ls -A /c", "b")
        }),
        case("ignore.dockerfile-itself", &[Need::NotBuildah], |s| {
            // Ignored is only that it is copied.
            s.file(".dockerignore", "Dockerfile\n.dockerignore\n")?;
            s.file("f", "")?;
            s.builds("ignore-itself", "FROM tiny\nCOPY . /c/\n")?;
            s.shows("ignore-itself", "ls -A /c", "f")
        }),
        case("ignore.bare-exclamation", &[Need::Brig], |s| {
            s.file(".dockerignore", "a\n!\n")?;
            s.refuses("FROM tiny\nCOPY . /\n", &["illegal exclusion pattern: \"!\""])
        }),
        case("ignore.copied-ignored-file", &[Need::Brig], |s| {
            s.file("a", "")?;
            s.file(".dockerignore", "a\n")?;
            s.dockerfile("FROM tiny\nCOPY a /a\n")?;
            let o = s.sh("docker build --check .")?;
            has("check", &(o.stdout + &o.stderr), "CopyIgnoredFile")
        }),
        case("context.special-files", &[], |s| {
            s.must(
                "mkdir d l; ln -s nowhere l/dangling; ln -s dangling l/good; echo x >d/a && ln d/a d/b; chmod 4711 d/a; \
                 touch -d @1600000000 d/a; chmod 700 d",
            )?;
            s.builds("special", "FROM tiny\nCOPY d /c/\nCOPY l /l/\n")?;
            s.shows(
                "special",
                "cd /c; stat -c \"%a %Y %n\" a b; stat -c %a .; cd /l; for l in *; do readlink $l || echo $l is none; done",
                "4711 1600000000 a\n4711 1600000000 b\n755\nnowhere\ndangling",
            )
        }),
        case("context.fifo-is-left", &[Need::Brig], |s| {
            // A fifo that nobody writes to must not stop a build.
            s.must("mkfifo pipe; echo x >f")?;
            s.builds("fifo", "FROM tiny\nCOPY . /c/\n")?;
            s.shows("fifo", "cat /c/f", "x")
        }),
        case("context.is-read-in-place", &[Need::Brig], |s| {
            // 64 MiB that nobody copies: nothing of it is read, or sent anywhere.
            s.must("head -c 64M /dev/zero >big")?;
            s.file("f", "f\n")?;
            let size = || s.must(&format!("du -s -B1M {} | cut -f1", s.lab.store().display()));
            let before = size()?;
            s.builds("in-place", "FROM tiny\nCOPY f /f\n")?;
            let grown = size()?.parse::<i64>().unwrap_or(0) - before.parse::<i64>().unwrap_or(0);
            is(&format!("grown by {grown} MiB, less than 5"), grown < 5, true)
        }),
    ]
}

fn git_file(s: &Scene) -> Done {
    repository(s, "local.git")?;
    let at = s.lab.repositories().join("local.git");
    let url = format!("file://{}", at.display());
    s.build(&format!("-t from-file '{url}#first'"))?;
    s.shows("from-file", "cat /repository/file", "first")?;
    s.build(&format!("-t from-file '{url}?ref=main&subdir=sub'"))?;
    s.shows("from-file", "cat /inner", "inner")?;
    let commit = s.must(&format!("git -C {} rev-parse main", at.display()))?;
    s.build(&format!("-t from-file '{url}?branch=main&checksum={commit}'"))?;
    s.fails(
        &format!("docker build '{url}?branch=main&checksum={}'", "0".repeat(40)),
        1,
        &["0000000"],
    )?;
    s.build(&format!(
        "--build-arg BUILDKIT_CONTEXT_KEEP_GIT_DIR=1 -t from-file '{url}#main'"
    ))?;
    s.shows("from-file", "test -d /repository/.git && echo kept", "kept")?;
    s.build(&format!("-t from-file '{url}?ref=main&keep-git-dir=true'"))?;
    s.shows("from-file", "test -d /repository/.git && echo kept", "kept")
}

fn stdin_archive(s: &Scene) -> Done {
    s.file("c/Dockerfile", "FROM tiny\nCOPY . /c/\n")?;
    s.file("c/f", "archived\n")?;
    s.file("c/x/Other", "FROM tiny\nENV F=other\n")?;
    for pack in ["cat", "gzip", "bzip2", "xz"] {
        let at = |e: String| format!("{pack}: {e}");
        s.must(&format!(
            "tar c -C c . | {pack} | docker build {} -t archived-{pack} - 2>told || {{ cat told >&2; exit 1; }}",
            s.plain()
        ))
        .map_err(at)?;
        s.shows(
            &format!("archived-{pack}"),
            "cat /c/f; ls -A /c",
            "archived\nDockerfile\nf\nx",
        )
        .map_err(at)?;
    }
    s.must("tar c -C c . | docker build -q -f x/Other -t archived-other -")?;
    s.shows("archived-other", "echo $F", "other")
}

/// Docker's rules, which are not git's.
fn ignore_rules(s: &Scene) -> Done {
    let paths = [
        "root.log",
        "keep.log",
        "a/deep.log",
        "a/b/deep.log",
        "dir/x",
        "dir/keep/y",
        "other/dir/z",
        "tmp1",
        "tmp22",
        "sub/tmp1",
        "abs",
        "sub/abs",
        "with space",
        "star*",
        "sub/md.md",
        "sub/README.md",
        ".hidden",
        "#hash",
        "a/b/c/d",
    ];
    for path in paths {
        s.file(path, "")?;
    }
    s.file(
        ".dockerignore",
        "\u{feff}# a comment
Dockerfile
.dockerignore
*.log
!keep.log
a/*/deep.log
/abs
dir
! dir/keep
tmp?
  with space
star\\*
sub/*.md
!sub/README.md
./a/../.hidden
**/d
",
    )?;
    let left = |s: &Scene| -> Result<String, String> {
        let seen = s.inside("ignored", "cd /c && find . ! -type d | sort")?;
        Ok(seen.split('\n').collect::<Vec<_>>().join(" "))
    };
    s.builds("ignored", "FROM tiny\nCOPY . /c/\n")?;
    is(
        "what is left",
        left(s)?,
        "./#hash ./a/deep.log ./dir/keep/y ./keep.log ./other/dir/z ./sub/README.md ./sub/abs ./sub/tmp1 ./tmp22",
    )?;
    // With everything ignored and some of it taken back.
    s.file(".dockerignore", "*\n!sub\nsub/tmp*\n")?;
    s.builds("ignored", "FROM tiny\nCOPY . /c/\n")?;
    is("what is left", left(s)?, "./sub/README.md ./sub/abs ./sub/md.md")
}
