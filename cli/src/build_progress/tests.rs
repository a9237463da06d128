//! Recorded events, and the text that they come to.
#![allow(clippy::unwrap_used)]

use super::screen::{Colours, harmless};
use super::trace::{Limits, Trace};
use super::*;
use builder::telling::Stream;
use builder::telling::Stream::{Stderr, Stdout};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const LOUD: Limits = Limits {
    size: None,
    speed: None,
};

fn begun(vertex: usize, name: &str) -> Event<'_> {
    Event::Begun { vertex, name }
}

fn output(vertex: usize, stream: Stream, text: &str) -> Event<'_> {
    Event::Output {
        vertex,
        stream,
        bytes: text.as_bytes(),
    }
}

fn part(vertex: usize, id: &str, done: u64, total: u64) -> Event<'_> {
    Event::Progress {
        vertex,
        id,
        done,
        total,
    }
}

/// Tells events, looks after each, and once more at the end.
fn plain(events: &[(u64, Event<'_>)]) -> String {
    let mut trace = Trace::new(LOUD);
    let mut plain = plain::Plain::new(false);
    let (mut out, mut last) = (Vec::new(), Duration::ZERO);
    for (at, event) in events {
        last = ms(*at);
        trace.tell(event, last);
        out.extend(plain.lines(&mut trace, last, false));
    }
    out.extend(plain.lines(&mut trace, last, true));
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_of_a_build_that_succeeds() {
    let text = plain(&[
        (0, begun(10, "[internal] load build definition from Dockerfile")),
        (5, part(10, "transferring dockerfile:", 31, 31)),
        (10, Event::Done { vertex: 10 }),
        (20, begun(7, "[1/2] FROM docker.io/library/debian")),
        (20, Event::Cached { vertex: 7 }),
        (30, begun(3, "[2/2] RUN make")),
        (153, output(3, Stdout, "first\nsec")),
        (160, output(3, Stderr, "ond\n\n")),
        (12_500, output(3, Stdout, "no end")),
        (13_000, Event::Done { vertex: 3 }),
    ]);
    assert_eq!(
        text,
        "#1 [internal] load build definition from Dockerfile\n\
         #1 transferring dockerfile: 31B / 31B done\n\
         #1 DONE 0.0s\n\n\
         #2 [1/2] FROM docker.io/library/debian\n\
         #2 CACHED\n\n\
         #3 [2/2] RUN make\n\
         #3 0.123 first\n\
         #3 0.123 second\n\
         #3 0.130 \n\
         #3 12.47 no end\n\
         #3 DONE 13.0s\n"
    );
}

#[test]
fn vertices_take_turns() {
    let text = plain(&[
        (0, begun(1, "[a] RUN a")),
        (10, output(1, Stdout, "a1\n")),
        (20, begun(2, "[b] RUN b")),
        (30, output(2, Stdout, "b1\n")),
        // It is the turn of the first, which is quiet now.
        (5_100, output(2, Stdout, "b2\n")),
        (5_200, output(1, Stdout, "a2\n")),
        (5_300, Event::Done { vertex: 1 }),
        (5_400, Event::Cancelled { vertex: 2 }),
    ]);
    assert_eq!(
        text,
        "#1 [a] RUN a\n#1 0.010 a1\n#1 ...\n\n\
         #2 [b] RUN b\n#2 0.010 b1\n#2 5.080 b2\n#2 ...\n\n\
         #1 [a] RUN a\n#1 5.200 a2\n#1 DONE 5.3s\n\n\
         #2 [b] RUN b\n#2 CANCELED\n"
    );
}

#[test]
fn a_failure_is_shown_with_its_last_lines() {
    let lines: String = (1..=12).map(|n| format!("line {n}\n")).collect();
    let text = plain(&[
        (0, begun(1, "[2/3] RUN false")),
        (10, output(1, Stderr, &lines)),
        (
            20,
            Event::Failed {
                vertex: 1,
                why: "process \"/bin/sh -c false\" did not complete successfully: exit code: 1",
            },
        ),
    ]);
    let shown: String = (1..=12).map(|n| format!("#1 0.010 line {n}\n")).collect();
    let again: String = (3..=12).map(|n| format!("0.010 line {n}\n")).collect();
    assert_eq!(
        text,
        format!(
            "#1 [2/3] RUN false\n{shown}\
             #1 ERROR: process \"/bin/sh -c false\" did not complete successfully: exit code: 1\n\
             ------\n > [2/3] RUN false:\n{again}------\n"
        )
    );
}

#[test]
fn parts_are_told_when_they_have_moved() {
    let text = plain(&[
        (0, begun(1, "FROM x")),
        (0, part(1, "sha256:aa", 0, 1_000_000)),
        (100, part(1, "sha256:aa", 10_000, 1_000_000)),
        (200, part(1, "sha256:aa", 60_000, 1_000_000)),
        (300, part(1, "sha256:bb", 5, 0)),
        (900, part(1, "sha256:aa", 1_000_000, 1_000_000)),
        (1_000, Event::Done { vertex: 1 }),
    ]);
    assert_eq!(
        text,
        "#1 FROM x\n\
         #1 sha256:aa 0B / 1.00MB\n\
         #1 sha256:aa 60.00kB / 1.00MB 0.2s\n\
         #1 sha256:bb 5B\n\
         #1 sha256:aa 1.00MB / 1.00MB 0.9s done\n\
         #1 sha256:bb 5B 0.7s done\n\
         #1 DONE 1.0s\n"
    );
}

#[test]
fn output_is_clipped_as_buildkit_clips_it() {
    let limits = Limits {
        size: Some(10),
        speed: Some(6),
    };
    let mut trace = Trace::new(limits);
    trace.tell(&begun(1, "RUN yes"), ms(0));
    for at in [0, 100, 1_100, 1_200, 9_000] {
        trace.tell(&output(1, Stdout, "yyy\n"), ms(at));
    }
    trace.tell(&Event::Done { vertex: 1 }, ms(9_100));
    let lines: Vec<String> = trace.vertices[0]
        .lines
        .iter()
        .map(|line| String::from_utf8_lossy(&line.bytes).into_owned())
        .collect();
    assert_eq!(
        lines,
        [
            "yyy",
            "yy",
            "[output clipped, log speed 6B/s reached]",
            "yyy",
            "",
            "[output clipped, log limit 10B reached]"
        ]
    );
    assert_eq!(Limits::of(|_| Some("-1".to_owned())).size, None);
    let small = Limits::of(|name| (name == "BUILDKIT_STEP_LOG_MAX_SIZE").then(|| "5".to_owned()));
    assert_eq!((small.size, small.speed), (Some(5), Limits::USUAL.speed));
}

#[test]
fn a_line_without_an_end_does_not_grow() {
    let mut trace = Trace::new(LOUD);
    trace.tell(&begun(1, "RUN yes"), ms(0));
    for _ in 0..100 {
        trace.tell(&output(1, Stdout, &"y".repeat(1000)), ms(0));
    }
    assert!(trace.vertices[0].partial.as_ref().unwrap().bytes.len() < 20_000);
    assert!(trace.vertices[0].lines.len() >= 5);
}

#[test]
fn a_tree_is_drawn_over_itself() {
    let mut trace = Trace::new(LOUD);
    let mut tree = tree::Tree::new(Colours::none(), "brig", 2);
    let room = Room {
        columns: 61,
        rows: 20,
    };
    assert_eq!(tree.draw(&mut trace, ms(0), room, false), b"");
    trace.tell(&begun(1, "[1/2] FROM debian"), ms(0));
    trace.tell(&part(1, "sha256:aa", 10, 2_000_000), ms(0));
    trace.tell(&Event::Cached { vertex: 1 }, ms(100));
    trace.tell(&begun(2, "[2/2] RUN make"), ms(100));
    trace.tell(
        &output(2, Stdout, "one\ntwo\n\n\x1b[31mthree\x1b[2J\nfour\r\rfive"),
        ms(200),
    );
    let first = String::from_utf8(tree.draw(&mut trace, ms(1_300), room, false)).unwrap();
    let line = |left: &str, right: &str| {
        format!(
            "{left}{}{right}\x1b[K\n",
            " ".repeat(60 - left.len() - right.len())
        )
    };
    assert_eq!(
        first,
        [
            "\x1b[?25l".to_owned(),
            line("[+] Building 1.3s (1/2)", "brig"),
            line(" => CACHED [1/2] FROM debian", " 0.1s"),
            line(" => => sha256:aa 10B / 2.00MB", " 0.1s"),
            line(" => [2/2] RUN make", " 1.2s"),
            " => => # three\x1b[K\n => => # five\x1b[K\n\x1b[J\x1b[?25h".to_owned(),
        ]
        .concat()
    );
    trace.tell(
        &Event::Failed {
            vertex: 2,
            why: "exit code: 1",
        },
        ms(2_000),
    );
    let last = String::from_utf8(tree.draw(&mut trace, ms(2_000), room, true)).unwrap();
    assert_eq!(
        last,
        [
            "\x1b[?25l\x1b[6A\r".to_owned(),
            line("[+] Building 2.0s (2/2) FINISHED", "brig"),
            line(" => CACHED [1/2] FROM debian", " 0.1s"),
            line(" => => sha256:aa 10B / 2.00MB", " 0.1s"),
            line(" => ERROR [2/2] RUN make", " 1.9s"),
            "\x1b[J\x1b[?25h------\n > [2/2] RUN make:\n".to_owned(),
            "0.100 one\n0.100 two\n0.100 \n0.100 \x1b[31mthree\x1b[0m\n0.100 five\n------\n".to_owned(),
        ]
        .concat()
    );
}

/// No picture has more lines than the terminal, or wider ones, whatever happens in it.
#[test]
fn a_tree_fits_its_terminal() {
    for (columns, rows) in [(200, 50), (80, 24), (40, 8), (20, 3), (5, 2), (1, 1)] {
        let mut trace = Trace::new(LOUD);
        let mut tree = tree::Tree::new(Colours::none(), "docker:default", 6);
        let names: Vec<String> = (0..30)
            .map(|n| format!("[stage 宽 {n}/30] RUN something \u{1b}[2J that is long"))
            .collect();
        for (n, name) in names.iter().enumerate() {
            trace.tell(&begun(n, name), ms(n as u64));
            trace.tell(
                &output(n, Stdout, "a line that a program writes, with 宽 in it\n"),
                ms(n as u64),
            );
            if n % 3 != 0 {
                trace.tell(&Event::Done { vertex: n }, ms(n as u64));
            }
            let text =
                String::from_utf8(tree.draw(&mut trace, ms(1000), Room { columns, rows }, false)).unwrap();
            let text = text.strip_prefix("\x1b[?25l").unwrap();
            let text = text
                .split_once('\r')
                .filter(|(up, _)| up.ends_with('A'))
                .map_or(text, |(_, rest)| rest);
            let lines: Vec<&str> = text.strip_suffix("\x1b[J\x1b[?25h").unwrap().lines().collect();
            assert!(
                lines.len() < rows.max(2),
                "{columns}x{rows}: {} lines",
                lines.len()
            );
            for line in lines {
                let line = line.strip_suffix("\x1b[K").unwrap();
                assert!(crate::width::of(line) < columns, "{columns}x{rows}: {line}");
                assert!(!line.contains('\x1b'));
            }
        }
    }
}

#[test]
fn a_window_that_became_narrower_is_drawn_over() {
    let mut trace = Trace::new(LOUD);
    let mut tree = tree::Tree::new(Colours::none(), "brig", 6);
    trace.tell(&begun(1, "[1/1] RUN make"), ms(0));
    tree.draw(
        &mut trace,
        ms(0),
        Room {
            columns: 81,
            rows: 20,
        },
        false,
    );
    let text = tree.draw(
        &mut trace,
        ms(0),
        Room {
            columns: 40,
            rows: 20,
        },
        false,
    );
    // Two lines of eighty are four of forty.
    assert!(String::from_utf8(text).unwrap().starts_with("\x1b[?25l\x1b[4A\r"));
}

#[test]
fn nothing_that_moves_the_cursor_is_left() {
    for (written, shown, coloured) in [
        ("plain", "plain", "plain"),
        ("a\tb", "a       b", "a       b"),
        ("12%\r 34%\r100%\r", "100%", "100%"),
        ("ab\u{8}c", "ac", "ac"),
        (
            "\u{1b}[1;31mred\u{1b}[m",
            "red",
            "\u{1b}[1;31mred\u{1b}[m\u{1b}[0m",
        ),
        ("\u{1b}[2J\u{1b}[10;10Hx\u{1b}[?1049h", "x", "x"),
        ("\u{1b}]0;title\u{7}x\u{1b}]52;c;Zm9v\u{1b}\\y", "xy", "xy"),
        ("\u{1b}Pq#0\u{1b}\\x\u{1b}(0y\u{1b}cz\u{1b}7", "xyz", "xyz"),
        ("\u{9b}2Jx\u{9d}0;t\u{9c}y\u{90}z", "xy", "xy"),
        ("\u{7}\u{0}x\u{202e}y", "xy", "xy"),
        ("x\u{1b}", "x", "x"),
        ("x\u{1b}[38;5", "x", "x"),
        ("x\u{1b}[>4mq", "xq", "xq"),
    ] {
        assert_eq!(harmless(written, false), shown, "{written:?}");
        assert_eq!(harmless(written, true), coloured, "{written:?}");
    }
}

#[test]
fn colours_are_chosen_as_with_buildkit() {
    let of = |wish: &str| {
        let wish = wish.to_owned();
        Colours::of(move |name| (name == "BUILDKIT_COLORS").then(|| wish.clone()))
    };
    use super::screen::Paint;
    assert_eq!(of("").paint(Paint::Run, "x"), "\u{1b}[34mx\u{1b}[0m");
    assert_eq!(
        of("run=light-green:error=1,2,3").paint(Paint::Run, "x"),
        "\u{1b}[92mx\u{1b}[0m"
    );
    assert_eq!(
        of("run=x:error=1,2,3").paint(Paint::Error, "x"),
        "\u{1b}[38;2;1;2;3mx\u{1b}[0m"
    );
    let none = Colours::of(|name| (name == "NO_COLOR").then(|| "1".to_owned()));
    assert_eq!(
        (none.paint(Paint::Run, "x"), none),
        ("x".to_owned(), Colours::none())
    );
}

#[test]
fn json_is_buildkits_solve_status() {
    let mut trace = Trace::new(LOUD);
    trace.keep_events(true);
    let mut rawjson = rawjson::Rawjson::new(SystemTime::UNIX_EPOCH);
    trace.tell(&begun(4, "[1/1] RUN x"), ms(0));
    trace.tell(&begun(5, "quick"), ms(0));
    trace.tell(&Event::Cached { vertex: 5 }, ms(0));
    let first = String::from_utf8(rawjson.lines(&mut trace)).unwrap();
    let lines: Vec<&str> = first.split_inclusive('\n').collect();
    assert!(lines[1].ends_with("\"name\":\"quick\",\"started\":\"1970-01-01T00:00:00Z\"}]}\n"));
    assert!(lines[2].ends_with("\"completed\":\"1970-01-01T00:00:00Z\",\"cached\":true}]}\n"));
    let first = lines[0];
    let value: serde_json::Value = serde_json::from_str(first).unwrap();
    let digest = value["vertexes"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(
        first,
        format!(
            "{{\"vertexes\":[{{\"digest\":\"{digest}\",\"name\":\"[1/1] RUN x\",\"started\":\"1970-01-01T00:00:00Z\"}}]}}\n"
        )
    );
    trace.tell(&output(4, Stderr, "hi\n"), ms(1_500));
    trace.tell(&part(4, "layer", 5, 10), ms(1_500));
    trace.tell(&Event::Warning { text: "careful" }, ms(1_500));
    trace.tell(
        &Event::Failed {
            vertex: 4,
            why: "bad",
        },
        ms(2_000),
    );
    let rest = String::from_utf8(rawjson.lines(&mut trace)).unwrap();
    let at = "1970-01-01T00:00:01.5Z";
    assert_eq!(
        rest,
        format!(
            "{{\"logs\":[{{\"vertex\":\"{digest}\",\"stream\":2,\"data\":\"aGkK\",\"timestamp\":\"{at}\"}}]}}\n\
             {{\"statuses\":[{{\"id\":\"layer\",\"vertex\":\"{digest}\",\"total\":10,\"current\":5,\"timestamp\":\"{at}\",\"started\":\"{at}\"}}]}}\n\
             {{\"warnings\":[{{\"level\":1,\"short\":\"Y2FyZWZ1bA==\"}}]}}\n\
             {{\"statuses\":[{{\"id\":\"layer\",\"vertex\":\"{digest}\",\"total\":10,\"current\":5,\"timestamp\":\"{at}\",\"started\":\"{at}\",\"completed\":\"1970-01-01T00:00:02Z\"}}]}}\n\
             {{\"vertexes\":[{{\"digest\":\"{digest}\",\"name\":\"[1/1] RUN x\",\"started\":\"1970-01-01T00:00:00Z\",\"completed\":\"1970-01-01T00:00:02Z\",\"error\":\"bad\"}}]}}\n"
        )
    );
    assert_eq!(rawjson.lines(&mut trace), b"");
}

#[test]
fn excerpts_and_warnings_look_like_dockers() {
    use build::lint::{Finding, Rule};
    use build::source::{Source, Span};
    let source = Source::new("Dockerfile", "FROM a\nRUN b \\\n  c\nCMD d\n").unwrap();
    assert_eq!(
        excerpt::excerpt(&source, "Dockerfile", Span::new(7, 18)),
        "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN b \\\n   3 | >>>   c\n   4 |     CMD d\n--------------------\n"
    );
    assert_eq!(excerpt::excerpt(&source, "Dockerfile", Span::default()), "");
    let finding = Finding {
        rule: Rule::JsonArgsRecommended,
        span: Span::new(19, 24),
        message: "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals"
            .to_owned(),
    };
    let none = Colours::none();
    assert_eq!(
        excerpt::warnings(&source, std::slice::from_ref(&finding), &none, "docker", false),
        "\n 1 warning found (use docker --debug to expand):\n - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 4)\n"
    );
    let two = [finding.clone(), finding];
    let text = excerpt::warnings(&source, &two, &none, "docker", true);
    assert!(text.starts_with("\n 2 warnings found:\n"), "{text}");
    assert!(
        text.contains(
            "More info: https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\nDockerfile:4\n"
        ),
        "{text}"
    );
    assert_eq!(excerpt::warnings(&source, &[], &none, "docker", false), "");
}
