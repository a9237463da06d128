#![allow(clippy::unwrap_used)]
use super::super::form::Form;
use super::super::tests::{Dir, at, launch_log};
use super::super::{Stream, Writer};
use super::*;

fn follow(path: &Path, tail: Option<usize>) -> Lines {
    let query = Query {
        tail,
        follow: true,
        ..Query::default()
    };
    Lines::open(path, |l| Form::Json.time(l), query).unwrap()
}

fn take(lines: &mut Lines) -> Vec<u32> {
    let (mut all, mut buffer) = (Vec::new(), Vec::new());
    while lines.advance().unwrap() {
        let record = Form::Json.read(lines.line(), &mut buffer).unwrap();
        all.push(std::str::from_utf8(record.text).unwrap().trim().parse().unwrap());
    }
    all
}

fn write(writer: &mut Writer, range: std::ops::Range<u32>) {
    for n in range {
        writer.write(Stream::Stdout, format!("{n}\n").as_bytes(), at(f64::from(n)));
    }
}

#[test]
fn following_survives_rotation() {
    for (files, compress) in [("1", "false"), ("2", "true"), ("5", "true"), ("5", "false")] {
        let dir = Dir::new();
        let mut options = vec![("max-size", "1k"), ("max-file", files)];
        if files != "1" {
            options.push(("compress", compress));
        }
        let log = launch_log("json-file", &dir.path().join("log"), &options);
        let mut lines = follow(&log.path, None);
        assert!(take(&mut lines).is_empty());
        let mut writer = Writer::open(&log).unwrap();
        let mut next = 0;
        // A few lines, or some files' worth, between two looks; with five files a reader may lag behind by three of them.
        for step in [1, 1, 3, 10, 15, 1, 15, 15, 2].into_iter().cycle().take(200) {
            let step = if files == "5" { step * 3 } else { step };
            write(&mut writer, next..next + step);
            if step % 2 == 0 {
                while writer.tidy() {}
            }
            let expected: Vec<u32> = (next..next + step).collect();
            assert_eq!(take(&mut lines), expected, "{files} files");
            next += step;
        }
    }
}

#[test]
fn who_is_too_slow_goes_on_with_what_is_left() {
    let dir = Dir::new();
    let log = launch_log(
        "json-file",
        &dir.path().join("log"),
        &[("max-size", "1k"), ("max-file", "3")],
    );
    let mut writer = Writer::open(&log).unwrap();
    write(&mut writer, 0..5);
    let mut lines = follow(&log.path, None);
    assert_eq!(take(&mut lines), [0, 1, 2, 3, 4]);
    write(&mut writer, 5..1000);
    let seen = take(&mut lines);
    assert_eq!(*seen.last().unwrap(), 999);
    assert!(seen.windows(2).all(|w| w[0] < w[1]));
    // The rest of the file that it held, and the three that there are.
    assert!(seen.len() > 30, "{}", seen.len());
}

#[test]
fn half_a_line_waits_for_its_end() {
    let dir = Dir::new();
    let path = dir.path().join("log");
    let mut line = Vec::new();
    Form::Json.put(&mut line, Stream::Stdout, b"7", true, b"", 5);
    for cut in 0..line.len() {
        fs::write(&path, &line[..cut]).unwrap();
        let mut lines = follow(&path, None);
        assert!(take(&mut lines).is_empty());
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, &line[cut..]).unwrap();
        assert_eq!(take(&mut lines), [7]);
    }
}

#[test]
fn following_from_the_end() {
    let dir = Dir::new();
    let log = launch_log(
        "json-file",
        &dir.path().join("log"),
        &[("max-size", "1k"), ("max-file", "3")],
    );
    let mut writer = Writer::open(&log).unwrap();
    write(&mut writer, 0..100);
    for tail in [0, 1, 20] {
        let mut lines = follow(&log.path, Some(tail));
        let expected: Vec<u32> = (100 - tail as u32..100).collect();
        assert_eq!(take(&mut lines), expected);
    }
    let mut lines = follow(&log.path, Some(0));
    assert!(take(&mut lines).is_empty());
    write(&mut writer, 100..103);
    assert_eq!(take(&mut lines), [100, 101, 102]);
}

/// A search compared with reading it all, on files of odd lines and bytes; the same numbers each time.
#[test]
fn searching_is_reading() {
    let mut seed = 88_172_645_463_325_252u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for round in 0..5 {
        let dir = Dir::new();
        let path = dir.path().join("log");
        let (mut bytes, mut time) = (Vec::new(), 1_000_000_000_000i64);
        let mut times = Vec::new();
        for n in 0..3000u32 {
            time += random(4_000_000_000) as i64 - 200_000_000;
            match random(40) {
                0 => bytes.extend_from_slice(b"{\"log\":\"torn\n"),
                1 => bytes.extend_from_slice(&[0; 50]),
                2 => bytes.extend_from_slice(b"\n\n"),
                _ => {}
            }
            let long = if random(200) == 0 {
                random(16_000)
            } else {
                random(100)
            };
            let text = format!("{n} {}", "x".repeat(long as usize));
            let before = bytes.len();
            Form::Json.put(&mut bytes, Stream::Stdout, text.as_bytes(), true, b"", time);
            // What was glued to zeros is lost.
            if before == 0 || bytes[before - 1] == b'\n' {
                times.push(time);
            }
        }
        fs::write(&path, &bytes).unwrap();
        for _ in 0..6 {
            let since = 1_000_000_000_000 + random(12_000_000_000_000) as i64;
            let until = since + random(4_000_000_000_000) as i64;
            let count = |query| {
                let mut lines = Lines::open(&path, |l| Form::Json.time(l), query).unwrap();
                let mut found = Vec::new();
                while lines.advance().unwrap() {
                    found.push(lines.time());
                }
                found
            };
            let query = Query {
                since: Some(since),
                ..Query::default()
            };
            let expected: Vec<i64> = times.iter().copied().filter(|t| *t >= since).collect();
            assert_eq!(count(query), expected, "round {round}");
            let expected: Vec<i64> = times
                .iter()
                .copied()
                .filter(|t| (since..=until).contains(t))
                .collect();
            assert_eq!(
                count(Query {
                    until: Some(until),
                    ..query
                }),
                expected,
                "round {round}"
            );
            let tail = random(4000) as usize;
            let query = Query {
                tail: Some(tail),
                ..Query::default()
            };
            assert_eq!(
                count(query),
                times[times.len().saturating_sub(tail)..],
                "round {round}"
            );
        }
    }
}

/// Writes and moves come at any moment between two calls of the reader.
#[test]
fn following_a_writer_that_does_not_wait() {
    const COUNT: u32 = 6_000;
    let dir = Dir::new();
    // Small files that all stay: what is missing is the reader's fault.
    let options = [("max-size", "2k"), ("max-file", "400"), ("compress", "false")];
    let log = launch_log("json-file", &dir.path().join("log"), &options);
    drop(Writer::open(&log).unwrap());
    let mut lines = follow(&log.path, None);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&mut Writer::open(&log).unwrap(), 0..COUNT));
        while !writing.is_finished() {
            seen.extend(take(&mut lines));
        }
    });
    seen.extend(take(&mut lines));
    assert!(seen.iter().copied().eq(0..COUNT), "{} of {COUNT}", seen.len());
}
