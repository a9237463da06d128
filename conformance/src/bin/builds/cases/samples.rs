//! The Dockerfiles of everyday examples, built as they are typed, and run.

use crate::case::{Case, Done, Need, Scene, case, field, has, is, soon};
use crate::packages;
use conformance::command;

pub fn cases() -> Vec<Case> {
    vec![
        case("sample.nginx", &[], nginx),
        case("sample.typos", &[Need::NotBuildah], typos),
        case("sample.corrected", &[Need::Packages, Need::NotBuildah], corrected),
        case("sample.flask", &[Need::Packages], flask),
        case("sample.python-apt", &[Need::Packages], python_apt),
        case("sample.java-ssh", &[Need::Packages], java_ssh),
        case("sample.multi-stage", &[], multi_stage),
        case("sample.build-tag", &[], |s| {
            s.dockerfile("FROM ubuntu\nCMD [\"echo\", \"from nano\"]\n")?;
            s.build("--tag=ubuntu_nano .")?;
            s.prints("docker run --rm --network none ubuntu_nano", "from nano")?;
            let history = s.must("docker history ubuntu_nano")?;
            has("history", &history, "CMD [\"echo\" \"from nano\"]")
        }),
        case("sample.exec-form-with-variable", &[Need::NotBuildah], |s| {
            s.builds("quoted", "FROM ubuntu\nCMD [\"echo $PATH\"]\n")?;
            let o = s.sh("docker run --rm --network none quoted")?;
            is("code", o.code, 127)?;
            has("message", &o.stderr, "echo $PATH")
        }),
        case("sample.context-is-the-root", &[], |s| {
            // ADD cannot use absolute paths: they are those of the context.
            s.file("below/sample.txt", "sample\n")?;
            s.builds(
                "clamped",
                "FROM tiny\nCOPY /below/sample.txt /a\nCOPY ../../below/sample.txt /b\nADD ../below /c/\n",
            )?;
            s.shows("clamped", "cat /a /b /c/sample.txt", "sample\nsample\nsample")
        }),
    ]
}

/// Package lists are kept from one sample to the next by the proxy's side alone: what is built is as it was typed.
fn with_packages() -> String {
    format!("--build-arg http_proxy={}", packages::proxy())
}

/// Asks a server of this host until it answers with this part.
fn until_served(s: &Scene, port: u16, part: &str) -> Done {
    let mut last = String::new();
    command::until(&format!("port {port} serves {part:?}"), soon(), || {
        let line = format!("python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:{port}/\").read().decode())'");
        last = s.sh(&line).map_or_else(|e| e, |o| o.stdout + &o.stderr);
        last.contains(part)
    })
    .map_err(|e| format!("{e}; last: {last:?}"))
}

fn nginx(s: &Scene) -> Done {
    s.file("index.html", "<h1>copied</h1>\n")?;
    s.file("html/more/page.html", "<h1>deeper</h1>\n")?;
    s.builds(
        "web",
        "FROM nginx:1.18\nCOPY index.html /usr/share/nginx/html/index.html\nCOPY ./html/ /usr/share/nginx/html/\n",
    )?;
    s.must("docker run -d --network host --name webserver1 web")?;
    until_served(s, 80, "<h1>copied</h1>")?;
    s.prints(
        "docker exec webserver1 cat /usr/share/nginx/html/more/page.html",
        "<h1>deeper</h1>",
    )
}

const TYPOS: &str = "FROM ubuntu:14.04
MAINTAINER sample <sample@example.com>
RUN apt-get update
RUN apt-get install –y vim
ADD ~/sample.txt /sample.txt
ENV sample=/sample
USER root
WORKDIR ~/sample
VOLUME /data
EXPOSS 22
CMD [“echo $PATH”]
";

fn typos(s: &Scene) -> Done {
    s.refuses(TYPOS, &["EXPOSS", "unknown instruction: EXPOSS"])?;
    if s.is_brig() {
        s.refuses(
            TYPOS,
            &[
                "Dockerfile:10",
                "did you mean EXPOSE?",
                "  10 | >>> EXPOSS 22\n",
                "     |     ^^^^^^\n",
            ],
        )?;
    }
    // With the instruction mended, the next mistake shows: a dash of another alphabet is a word, and no option.
    let mended = TYPOS.replace("EXPOSS", "EXPOSE");
    let without_packages = mended
        .replace("RUN apt-get update\n", "")
        .replace("RUN apt-get install –y vim", "RUN set -- –y vim; test $# = 2");
    s.refuses(&without_packages, &["~/sample.txt"])?;
    s.file("~/sample.txt", "a sample\n")?;
    let told = s.builds("sampled", &without_packages)?;
    has("the other typos are none for a builder", &told, "set -- –y vim")?;
    let config = s.config("sampled")?;
    is(
        "Cmd",
        field(&config, "/Cmd"),
        r#"["/bin/sh","-c","[“echo $PATH”]"]"#,
    )?;
    is("WorkingDir", field(&config, "/WorkingDir"), "\"/~/sample\"")?;
    is("User", field(&config, "/User"), "\"root\"")?;
    is("Volumes", field(&config, "/Volumes"), r#"{"/data":{}}"#)?;
    is(
        "ExposedPorts",
        field(&config, "/ExposedPorts"),
        r#"{"22/tcp":{}}"#,
    )?;
    s.prints(
        "docker image inspect --format '{{.Author}}' sampled",
        "sample <sample@example.com>",
    )?;
    s.shows(
        "sampled",
        "pwd; cat /sample.txt; echo $sample",
        "/~/sample\na sample\n/sample",
    )
}

/// apt is told a word that is no option, and looks for a package of that name.
fn corrected(s: &Scene) -> Done {
    s.file("~/sample.txt", "a sample\n")?;
    s.dockerfile(&TYPOS.replace("EXPOSS", "EXPOSE"))?;
    s.fails(
        &format!("docker build {} {} .", s.plain(), with_packages()),
        1,
        &["Unable to locate package –y", "exit code: 100"],
    )?;
    s.dockerfile(
        &TYPOS
            .replace("EXPOSS", "EXPOSE")
            .replace("–y vim", "-y --no-install-recommends hello")
            .replace("“echo $PATH”", "\"echo\", \"$PATH\""),
    )?;
    s.build(&format!("-t mended {} .", with_packages()))?;
    s.shows("mended", "hello", "Hello, world!")?;
    s.prints("docker run --rm --network none mended", "$PATH")
}

fn flask(s: &Scene) -> Done {
    s.file("requirements.txt", "flask\n")?;
    s.file(
        "app.py",
        "from flask import Flask\napp = Flask(__name__)\n@app.route('/')\ndef hello():\n    return 'Hello from Flask'\n",
    )?;
    // The index of pip is not within reach: what it would bring comes from the distribution.
    s.dockerfile(
        "FROM python
WORKDIR /app
COPY requirements.txt requirements.txt
RUN apt-get update && for name in $(cat requirements.txt); do apt-get install -y --no-install-recommends python3-$name; done
COPY . .
ENV FLASK_APP=app.py \\
    FLASK_RUN_HOST=0.0.0.0
EXPOSE 5000
VOLUME [\"/app/data\"]
HEALTHCHECK --interval=30s --timeout=3s CMD curl -f http://localhost:5000/ || exit 1
CMD [\"flask\", \"run\", \"--port\", \"5001\"]
",
    )?;
    s.build(&format!("-t flask-app {} .", with_packages()))?;
    let config = s.config("flask-app")?;
    is(
        "Healthcheck",
        field(&config, "/Healthcheck/Test"),
        r#"["CMD-SHELL","curl -f http://localhost:5000/ || exit 1"]"#,
    )?;
    is(
        "interval",
        field(&config, "/Healthcheck/Interval"),
        30_000_000_000_u64,
    )?;
    s.must("docker run -d --network host --name flask flask-app")?;
    until_served(s, 5001, "Hello from Flask")
}

fn python_apt(s: &Scene) -> Done {
    s.file("py_lotto.py", "print('six numbers')\n")?;
    s.dockerfile(
        "FROM ubuntu:latest
RUN apt-get update -y
RUN apt-get install -y --no-install-recommends python3-minimal
COPY py_lotto.py /
CMD python3 /py_lotto.py
",
    )?;
    let told = s.build(&format!("-t lotto {} .", with_packages()))?;
    has("apt tells what it does", &told, "Setting up python3-minimal")?;
    s.prints("docker run --rm --network none lotto", "six numbers")?;
    // apt changes to a user of its own, and gives its files to it.
    s.shows("lotto", "stat -c %U /var/lib/apt/lists/partial", "_apt")
}

fn java_ssh(s: &Scene) -> Done {
    s.must("mkdir hadoop-1.2.1 && echo '#!/bin/sh' >hadoop-1.2.1/hadoop && tar czf h.tar.gz hadoop-1.2.1")?;
    let archive = std::fs::read(s.dir.join("h.tar.gz")).map_err(|e| format!("h.tar.gz: {e}"))?;
    let address = s.lab.web.put("hadoop-1.2.1.tar.gz", &archive)?;
    s.dockerfile(&format!(
        "FROM ubuntu:14.04
MAINTAINER someone <someone@example.com>
RUN apt-get update && apt-get install -y --no-install-recommends openssh-server wget
RUN --network=host wget -q {address} \\
 && tar xzf hadoop-1.2.1.tar.gz -C /usr/local
ENV JAVA_HOME /usr/lib/jvm/java-7-openjdk-amd64
ENV HADOOP_HOME=/usr/local/hadoop-1.2.1
ENV PATH $PATH:$JAVA_HOME/bin:${{HADOOP_HOME}}/bin
RUN mkdir -p /var/run/sshd
EXPOSE 22
CMD [\"/usr/sbin/sshd\", \"-D\"]
"
    ))?;
    // The loopback of this host is nothing that a build may reach unless it is allowed.
    let allow = if s.is_brig() {
        "--allow network.host"
    } else {
        "--network host"
    };
    if !s.is_brig() {
        s.dockerfile(&s.read("Dockerfile")?.replace("--network=host ", ""))?;
    }
    s.build(&format!(
        "-t sshd {allow} --build-arg no_proxy=127.0.0.1 {} .",
        with_packages()
    ))?;
    let config = s.config("sshd")?;
    has(
        "Env",
        &field(&config, "/Env"),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/jvm/java-7-openjdk-amd64/bin:/usr/local/hadoop-1.2.1/bin",
    )?;
    s.must("docker run -d --name ssh --network none sshd")?;
    let mut last = String::new();
    command::until("sshd greets", soon(), || {
        last = s
            .sh("docker exec ssh bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -n 1 <&3'")
            .map_or_else(|e| e, |o| o.stdout + &o.stderr);
        last.starts_with("SSH-2.0-")
    })
    .map_err(|e| format!("{e}; last: {last:?}"))?;
    s.prints(
        "docker exec ssh sh -c 'command -v hadoop || ls $HADOOP_HOME'",
        "hadoop",
    )
}

fn multi_stage(s: &Scene) -> Done {
    s.file("source", "the program\n")?;
    s.builds(
        "staged",
        "FROM tiny AS Builder
WORKDIR /work
COPY source .
RUN tr a-z A-Z <source >program && mkdir tree && touch tree/a tree/b

FROM tiny AS unused
RUN exit 9

FROM scratch AS packed
COPY --from=builder /work/program /program
COPY --from=builder /work/tree/ /tree/

FROM tiny
COPY --from=packed / /packed/
COPY --from=2 /program /by-number
COPY --from=busybox:latest /bin/cowsay /from-image
CMD cat /packed/program
",
    )?;
    s.prints("docker run --rm --network none staged", "THE PROGRAM")?;
    s.shows(
        "staged",
        "ls /packed/tree; cmp /by-number /packed/program; test -x /from-image && echo there",
        "a\nb\nthere",
    )
}
