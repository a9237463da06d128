#![allow(clippy::unwrap_used)]
use super::lines::{Lines, Query};
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// A directory for one test.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("brig-log-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Dir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn launch_log(driver: &str, path: &Path, options: &[(&str, &str)]) -> launch::Log {
    launch::Log {
        driver: driver.into(),
        path: path.into(),
        options: options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        attributes: BTreeMap::new(),
    }
}

pub fn at(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_837_674) + Duration::from_secs_f64(seconds)
}

/// Everything that is read, a text for each record.
pub fn read(log: &launch::Log, query: Query) -> Vec<String> {
    let form = if log.driver == "local" {
        Form::Local
    } else {
        Form::Json
    };
    let time = match form {
        Form::Json => |l: &[u8]| Form::Json.time(l),
        Form::Local => |l: &[u8]| Form::Local.time(l),
    };
    let mut lines = Lines::open(&log.path, time, query).unwrap();
    let (mut all, mut buffer) = (Vec::new(), Vec::new());
    while lines.advance().unwrap() {
        let record = form.read(lines.line(), &mut buffer).unwrap();
        let text = String::from_utf8_lossy(record.text);
        all.push(format!("{}:{text}", &record.stream.name()[3..]));
    }
    all
}

fn records(writes: &[(Stream, &[u8])]) -> Vec<String> {
    let dir = Dir::new();
    let log = launch_log("json-file", &dir.path().join("log"), &[]);
    let mut writer = Writer::open(&log).unwrap();
    for (stream, bytes) in writes {
        writer.write(*stream, bytes, at(0.0));
    }
    writer.finish(at(1.0));
    assert_eq!(writer.lost(), 0);
    read(&log, Query::default())
}

#[test]
fn streams_become_lines() {
    use Stream::{Stderr, Stdout};
    for (writes, expected) in [
        (&[(Stdout, &b"a\nb\n"[..])][..], &["out:a\n", "out:b\n"][..]),
        (
            &[(Stdout, b"a"), (Stdout, b"b"), (Stdout, b"c\n\nd\n")],
            &["out:abc\n", "out:\n", "out:d\n"],
        ),
        // As in Docker, what ends without a newline is kept so.
        (&[(Stdout, b"no newline")], &["out:no newline"]),
        (
            &[(Stdout, b"out"), (Stderr, b"err\n"), (Stdout, b"put\n")],
            &["err:err\n", "out:output\n"],
        ),
        (&[(Stdout, b""), (Stdout, b"\n")], &["out:\n"]),
        (&[(Stdout, b"\r\n")], &["out:\r\n"]),
        (&[(Stderr, b"z"), (Stdout, b"a")], &["out:a", "err:z"]),
    ] {
        assert_eq!(records(writes), expected, "{writes:?}");
    }
}

#[test]
fn long_lines_are_cut() {
    use Stream::Stdout;
    let lengths =
        |writes: &[(Stream, &[u8])]| -> Vec<usize> { records(writes).iter().map(|r| r.len() - 4).collect() };
    let long = [&vec![b'x'; 40_000][..], b"\n"].concat();
    let exact = [&vec![b'x'; LINE][..], b"\n"].concat();
    assert_eq!(lengths(&[(Stdout, &long)]), [16384, 16384, 40_000 - 32768 + 1]);
    assert_eq!(
        lengths(&[(Stdout, &long[..10_000]), (Stdout, &long[10_000..])]),
        [16384, 16384, 7233]
    );
    // As in Docker, whose buffer is full before it sees the newline.
    assert_eq!(lengths(&[(Stdout, &exact)]), [16384, 1]);
    assert_eq!(lengths(&[(Stdout, &exact[..LINE])]), [16384]);
    // A character is not cut.
    let euros = "€".repeat(6000);
    let cut = records(&[(Stdout, euros.as_bytes())]);
    assert_eq!(cut.concat().replace("out:", ""), euros);
    assert_eq!(cut[0].len() - 4, 16383);
    // What is no UTF-8 is cut anywhere.
    assert_eq!(records(&[(Stdout, &[0xff; 20_000])]).len(), 2);
    assert_eq!(records(&[(Stdout, &[0xbf; 20_000])]).len(), 2);
    assert_eq!(records(&[(Stdout, &[0xf0; 20_000])]).len(), 2);
}

#[test]
fn pieces_have_the_time_of_the_first() {
    let dir = Dir::new();
    let log = launch_log("json-file", &dir.path().join("log"), &[]);
    let mut writer = Writer::open(&log).unwrap();
    writer.write(Stream::Stdout, &[b'x'; 17_000], at(0.0));
    writer.write(Stream::Stderr, b"between\n", at(100.0));
    writer.write(Stream::Stdout, b"end\nnext\n", at(200.0));
    writer.finish(at(201.0));
    let text = fs::read_to_string(&log.path).unwrap();
    let times: Vec<&str> = text.lines().map(|l| &l[l.len() - 10..]).collect();
    assert_eq!(
        times,
        ["03:47:54Z\"}", "03:49:34Z\"}", "03:47:54Z\"}", "03:51:14Z\"}"].map(|t| &t[t.len() - 10..])
    );
    // And a search finds the piece that is out of order, and what follows it.
    let since = |s| {
        read(
            &log,
            Query {
                since: Some(stamp::nanos(at(s))),
                ..Query::default()
            },
        )
    };
    assert_eq!(since(150.0), ["out:next\n"]);
    assert_eq!(since(50.0), ["err:between\n", "out:next\n"]);
    assert_eq!(since(0.0).len(), 4);
}

#[test]
fn attributes_are_in_each_line() {
    let dir = Dir::new();
    let mut log = launch_log("json-file", &dir.path().join("log"), &[]);
    log.attributes = [("tag", "x"), ("a<b", "\"q\"")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let mut writer = Writer::open(&log).unwrap();
    writer.write(Stream::Stdout, b"hi\n", at(0.0));
    assert_eq!(
        fs::read_to_string(&log.path).unwrap(),
        "{\"log\":\"hi\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\\u003cb\":\"\\\"q\\\"\",\"tag\":\"x\"},\"time\":\"2026-11-28T03:47:54Z\"}\n"
    );
}

#[test]
fn nothing_is_written_without_a_driver() {
    let dir = Dir::new();
    let log = launch_log("none", &dir.path().join("log"), &[]);
    let mut writer = Writer::open(&log).unwrap();
    writer.write(Stream::Stdout, &[b'x'; 50_000], at(0.0));
    writer.finish(at(0.0));
    assert!(!log.path.exists());
    assert!(Writer::open(&launch_log("nope", &log.path, &[])).is_err());
}

/// Numbered lines, so that a missing one is seen.
fn write_numbered(writer: &mut Writer, range: std::ops::Range<u32>) {
    for n in range {
        writer.write(Stream::Stdout, format!("line {n}\n").as_bytes(), at(f64::from(n)));
    }
}

fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("out:line {n}\n")).collect()
}

fn names(dir: &Dir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_rotated_and_older_ones_compressed() {
    for driver in ["json-file", "local"] {
        let dir = Dir::new();
        let log = launch_log(
            driver,
            &dir.path().join("log"),
            &[("max-size", "2k"), ("max-file", "4"), ("compress", "true")],
        );
        let mut writer = Writer::open(&log).unwrap();
        write_numbered(&mut writer, 0..1000);
        while writer.tidy() {}
        assert_eq!(names(&dir), ["log", "log.1", "log.2.gz", "log.3.gz"], "{driver}");
        let all = read(&log, Query::default());
        let first = 1000 - u32::try_from(all.len()).unwrap();
        assert_eq!(all, numbered(first..1000), "{driver}");
        assert!(all.len() > 80, "{driver}: {}", all.len());
        for name in names(&dir) {
            let len = fs::metadata(dir.path().join(&name)).unwrap().len();
            assert!(len < 2100, "{name} has {len}");
        }
        // From the end, and from a time, through compressed ones.
        for count in [0, 1, 5, 30, 70, all.len(), 5000] {
            let tail = read(
                &log,
                Query {
                    tail: Some(count),
                    ..Query::default()
                },
            );
            assert_eq!(tail, all[all.len() - count.min(all.len())..], "{driver} {count}");
        }
        for n in [0, first, first + 10, 950, 990, 999, 1000] {
            let since = Some(stamp::nanos(at(f64::from(n))));
            assert_eq!(
                read(
                    &log,
                    Query {
                        since,
                        ..Query::default()
                    }
                ),
                numbered(n.max(first)..1000),
                "{driver} {n}"
            );
            let until = read(
                &log,
                Query {
                    until: since,
                    ..Query::default()
                },
            );
            assert_eq!(until, numbered(first..(n + 1).clamp(first, 1000)), "{driver} {n}");
        }
    }
}

#[test]
fn one_file_stays_one() {
    let dir = Dir::new();
    let log = launch_log("json-file", &dir.path().join("log"), &[("max-size", "2k")]);
    let mut writer = Writer::open(&log).unwrap();
    write_numbered(&mut writer, 0..200);
    assert_eq!(names(&dir), ["log"]);
    let all = read(&log, Query::default());
    assert_eq!(all.last().unwrap(), "out:line 199\n");
    assert!(all.len() < 30);
}

#[test]
fn no_limit_is_no_limit() {
    let dir = Dir::new();
    let log = launch_log("json-file", &dir.path().join("log"), &[("max-size", "-1")]);
    let mut writer = Writer::open(&log).unwrap();
    let block = "x".repeat(99) + "\n";
    let block = block.repeat(600);
    for _ in 0..400 {
        writer.write(Stream::Stdout, block.as_bytes(), at(0.0));
    }
    assert_eq!(names(&dir), ["log"]);
    assert!(fs::metadata(&log.path).unwrap().len() > 25 << 20);
}

#[test]
fn a_torn_line_costs_itself_only() {
    for driver in ["json-file", "local"] {
        let dir = Dir::new();
        let log = launch_log(driver, &dir.path().join("log"), &[]);
        write_numbered(&mut Writer::open(&log).unwrap(), 0..3);
        let whole = fs::read(&log.path).unwrap();
        let line = whole.split_inclusive(|c| *c == b'\n').nth(2).unwrap().len();
        for cut in 1..line {
            fs::write(&log.path, &whole[..whole.len() - cut]).unwrap();
            let mut writer = Writer::open(&log).unwrap();
            write_numbered(&mut writer, 3..5);
            let mut all = read(&log, Query::default());
            // The newline alone may be what was lost; a short form may lose its end unseen.
            if all.len() == 5 {
                assert!(
                    "out:line 2\n".starts_with(all.remove(2).trim_end()),
                    "{driver} {cut}"
                );
            }
            let expected = [numbered(0..2), numbered(3..5)].concat();
            assert_eq!(all, expected, "{driver} {cut}");
            let tail = read(
                &log,
                Query {
                    tail: Some(2),
                    ..Query::default()
                },
            );
            assert_eq!(tail, numbered(3..5));
        }
    }
}

#[test]
fn zeros_of_a_power_cut_are_passed_over() {
    let dir = Dir::new();
    let log = launch_log("json-file", &dir.path().join("log"), &[]);
    write_numbered(&mut Writer::open(&log).unwrap(), 0..3);
    let mut bytes = fs::read(&log.path).unwrap();
    bytes.extend(vec![0; 9 << 20]);
    fs::write(&log.path, &bytes).unwrap();
    write_numbered(&mut Writer::open(&log).unwrap(), 3..6);
    let expected = numbered(0..6);
    assert_eq!(read(&log, Query::default()), expected);
    for count in 1..7 {
        let tail = read(
            &log,
            Query {
                tail: Some(count),
                ..Query::default()
            },
        );
        assert_eq!(tail, expected[6 - count.min(6)..], "{count}");
    }
}

#[test]
fn a_clock_that_goes_back_hides_nothing() {
    let dir = Dir::new();
    let log = launch_log("json-file", &dir.path().join("log"), &[("max-size", "-1")]);
    let mut writer = Writer::open(&log).unwrap();
    // Enough that a search does halve: 3 parts of 600 kB.
    let part = |writer: &mut Writer, name: &str, begin: f64| {
        for n in 0..6_000 {
            let text = format!("{name} {n} {}\n", "x".repeat(30));
            writer.write(Stream::Stdout, text.as_bytes(), at(begin + f64::from(n)));
        }
    };
    part(&mut writer, "a", 100_000.0);
    part(&mut writer, "b", 50_000.0);
    drop(writer);
    // Another process goes on, and the clock is back once more.
    let mut writer = Writer::open(&log).unwrap();
    part(&mut writer, "c", 0.0);
    assert_eq!(files::jumps(&log.path).len(), 2);
    let count = |since: f64| {
        let all = read(
            &log,
            Query {
                since: Some(stamp::nanos(at(since))),
                ..Query::default()
            },
        );
        ["a", "b", "c"].map(|part| all.iter().filter(|l| l[4..].starts_with(part)).count())
    };
    assert_eq!(count(0.0), [6_000; 3]);
    assert_eq!(count(2_000.0), [6_000, 6_000, 4_000]);
    assert_eq!(count(52_000.0), [6_000, 4_000, 0]);
    assert_eq!(count(105_999.0), [1, 0, 0]);
    assert_eq!(count(200_000.0), [0; 3]);
    let until = read(
        &log,
        Query {
            until: Some(stamp::nanos(at(9.0))),
            ..Query::default()
        },
    );
    assert_eq!(until.len(), 10);
}

/// What a kill leaves between any two calls of a rotation is read, and mended by the next writer.
#[test]
fn a_kill_in_a_rotation_loses_nothing() {
    let options = [("max-size", "2k"), ("max-file", "5"), ("compress", "true")];
    type Breakage = fn(&Path);
    let breakages: [(&str, Breakage); 4] = [
        ("before the new file", |dir| {
            for (old, new) in [("log.2.gz", "log.3.gz"), ("log.1", "log.2"), ("log", "log.1")] {
                fs::rename(dir.join(old), dir.join(new)).unwrap();
            }
        }),
        ("in the midst of moving", |dir| {
            fs::rename(dir.join("log.2.gz"), dir.join("log.3.gz")).unwrap()
        }),
        ("while compressing", |dir| {
            fs::write(dir.join("log.gz.new"), b"half").unwrap()
        }),
        ("before the plain one goes", |dir| {
            use std::io::Read as _;
            let mut text = Vec::new();
            let file = fs::File::open(dir.join("log.2.gz")).unwrap();
            flate2::read::GzDecoder::new(file).read_to_end(&mut text).unwrap();
            fs::write(dir.join("log.2"), text).unwrap();
        }),
    ];
    for (what, breakage) in breakages {
        let dir = Dir::new();
        let log = launch_log("json-file", &dir.path().join("log"), &options);
        let mut writer = Writer::open(&log).unwrap();
        write_numbered(&mut writer, 0..75);
        while writer.tidy() {}
        drop(writer);
        assert_eq!(names(&dir), ["log", "log.1", "log.2.gz"], "{what}");
        breakage(dir.path());
        assert_eq!(read(&log, Query::default()), numbered(0..75), "{what}");
        let mut writer = Writer::open(&log).unwrap();
        while writer.tidy() {}
        write_numbered(&mut writer, 75..100);
        while writer.tidy() {}
        assert_eq!(read(&log, Query::default()), numbered(0..100), "{what}");
        let left = names(&dir);
        let odd = left
            .iter()
            .any(|n| n.contains("new") || n == "log.2" || n == "log.3");
        assert!(!odd, "{what}: {left:?}");
    }
}

#[test]
fn a_full_disk_is_counted() {
    let dir = Dir::new();
    let path = dir.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let mut writer = Writer::open(&launch_log("json-file", &path, &[("max-size", "-1")])).unwrap();
    writer.write(Stream::Stdout, b"a\nb\n", at(0.0));
    assert_eq!(writer.lost(), 2);
}
/// What dockerd 20.10 wrote of the same bytes: HTML, control characters, U+2028, cut and wrong UTF-8, 3000 random ones.
#[test]
fn bytes_are_those_of_dockerd() {
    let dir = Dir::new();
    let mut log = launch_log("json-file", &dir.path().join("log"), &[]);
    log.attributes = [("a", "<x>&\""), ("tag", "odd")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let mut writer = Writer::open(&log).unwrap();
    for chunk in include_bytes!("golden/odd").chunks(97) {
        writer.write(Stream::Stdout, chunk, at(0.5));
    }
    let without_time = |text: &[u8]| -> Vec<String> {
        let text = std::str::from_utf8(text).unwrap();
        text.lines()
            .map(|l| l.rsplit_once("\"time\"").unwrap().0.to_owned())
            .collect()
    };
    let ours = fs::read(&log.path).unwrap();
    assert_eq!(
        without_time(&ours),
        without_time(include_bytes!("golden/odd.json"))
    );
}

#[test]
fn lines_survive_the_way_to_another_process() {
    let sent = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let of_writer = std::rc::Rc::clone(&sent);
    let room = std::rc::Rc::new(std::cell::Cell::new(true));
    let of_room = std::rc::Rc::clone(&room);
    let mut writer = Writer::handing_on(Box::new(move |message| {
        if of_room.get() {
            of_writer.borrow_mut().extend_from_slice(message);
        }
        of_room.get()
    }));
    let now = SystemTime::now();
    writer.write(Stream::Stdout, b"one\ntw", now);
    writer.write(Stream::Stderr, b"err\n", now);
    room.set(false);
    writer.write(Stream::Stderr, b"lost\n", now);
    room.set(true);
    writer.write(Stream::Stdout, b"o\nhalf", now);
    writer.finish(now);
    assert_eq!(writer.lost(), 1);
    sent.borrow_mut().extend_from_slice(&Message::MARK);
    let bytes = sent.borrow();
    let (mut rest, mut lines) = (bytes.as_slice(), Vec::new());
    while let Some((message, after)) = Message::parse(rest) {
        rest = after;
        lines.push(message.map(|m| (m.stream, m.text, m.whole)));
    }
    assert!(rest.is_empty());
    assert_eq!(
        lines,
        [
            Some((Stream::Stdout, b"one".as_slice(), true)),
            Some((Stream::Stderr, b"err", true)),
            Some((Stream::Stdout, b"two", true)),
            Some((Stream::Stdout, b"half", false)),
            None
        ]
    );
    // Cut anywhere, it waits for the rest.
    assert_eq!(Message::parse(&bytes[..13]), None);
    assert_eq!(Message::parse(&bytes[..15]), None);
}
