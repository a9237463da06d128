//! What a network costs: its share of a run, the container after five hundred others, and how fast bytes pass.
//!
//! May not: give anyone an advantage. Turns are interleaved; what passes bytes is the same program in the same image, and has the same
//! time.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use conformance::verdict::Choice;

use super::Stage;
use crate::lab::Subject;
use crate::outside::HOST;
use crate::statistics::{Table, Times};

/// What is wanted of brig's figures, as shares of Docker's.
const SHARE: f64 = 0.12;
const WHOLE: f64 = 0.15;
/// The container after so many others, as a multiple of the first.
const CROWD: usize = 500;
const CROWDED: f64 = 1.2;
const CROWD_TURNS: usize = 20;
const WARMING: usize = 3;
const CROWDS: usize = 3;
/// Bytes a second, as a share of Docker's.
const THROUGHPUT: f64 = 0.95;

const BOTH: [Subject; 2] = [Subject::Docker, Subject::Brig];

const NONE: [&str; 6] = ["run", "--rm", "--network", "none", "tiny", "true"];
const BRIDGE: [&str; 6] = ["run", "--rm", "-p", "8001:80", "tiny", "true"];

pub const PARTS: [&str; 3] = [
    "measure.networks-share",
    "measure.networks-streams",
    "measure.networks-crowd",
];

pub fn run(stage: &Stage, choice: &Choice, rounds: usize) -> Result<(), String> {
    for who in BOTH {
        // What the first one makes stays.
        stage.must(who, &NONE)?;
        stage.must(who, &BRIDGE)?;
    }
    let [share, streams, alone_and_crowded] = PARTS.map(|part| choice.has(part));
    if share {
        shares(stage, rounds * 10)?;
    }
    if streams {
        throughput(stage, rounds * TURNS)?;
        stage.lab.empty()?;
    }
    if alone_and_crowded {
        crowd(stage)?;
        stage.lab.empty()?;
    }
    Ok(())
}

fn shares(stage: &Stage, rounds: usize) -> Result<(), String> {
    let mut times = vec![Vec::new(); 4];
    for _ in 0..rounds {
        for (index, who) in BOTH.into_iter().enumerate() {
            times[2 * index].push(stage.timed(who, &NONE)?);
            times[2 * index + 1].push(stage.timed(who, &BRIDGE)?);
        }
    }
    let medians: Vec<f64> = times
        .iter()
        .map(|times| Times::new(times.clone()).median().as_secs_f64())
        .collect();
    let names = [
        "docker, none",
        "docker, bridge and a port",
        "brig, none",
        "brig, bridge and a port",
    ];
    let table = Table {
        title: "run --rm of true: without a network, and with a bridge and a published port".to_owned(),
        rows: names
            .map(str::to_owned)
            .into_iter()
            .zip(times.into_iter().map(Times::new))
            .collect(),
        gauge: None,
    };
    table.print();
    let (docker, brig) = (medians[1] - medians[0], medians[3] - medians[2]);
    println!(
        "  the network's share: docker {:.1} ms, brig {:.1} ms",
        docker * 1e3,
        brig * 1e3
    );
    at_most("  of docker's share", brig / docker.max(f64::MIN_POSITIVE), SHARE);
    at_most("  the whole, of docker's", medians[3] / medians[1], WHOLE);
    Ok(())
}

fn at_most(what: &str, value: f64, limit: f64) {
    let verdict = if value <= limit { "ok" } else { "above" };
    println!("{what} {value:.3} (at most {limit}) {verdict}");
}

/// Brig's alone: Docker would take minutes for its five hundred. The crowd comes and goes several times, for this machine is faster in one
/// minute than in the next by more than what is looked for.
fn crowd(stage: &Stage) -> Result<(), String> {
    let turns = |all: &mut Vec<Duration>| -> Result<(), String> {
        for turn in 0..WARMING + CROWD_TURNS {
            let took = stage.timed(Subject::Brig, &BRIDGE)?;
            if turn >= WARMING {
                all.push(took);
            }
        }
        Ok(())
    };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for _ in 0..CROWDS {
        turns(&mut first)?;
        gather(stage)?;
        turns(&mut last)?;
        stage.lab.empty()?;
    }
    turns(&mut first)?;
    let rows = [("the first", first), (&*format!("the {}st", CROWD + 1), last)]
        .map(|(name, times)| (name.to_owned(), Times::new(times)));
    let ratio = rows[1].1.median().as_secs_f64() / rows[0].1.median().as_secs_f64();
    let table = Table {
        title: format!("run --rm with a bridge and a published port, alone and beside {CROWD} others"),
        rows: rows.into(),
        gauge: None,
    };
    table.print();
    at_most("  of the first", ratio, CROWDED);
    Ok(())
}

fn gather(stage: &Stage) -> Result<(), String> {
    let began = Instant::now();
    for n in 0..CROWD {
        let name = format!("crowd{n}");
        stage.must(
            Subject::Brig,
            &[
                "run", "-d", "-p", "80", "--name", &name, "tiny", "sleep", "100000",
            ],
        )?;
    }
    println!(
        "\n{CROWD} containers with a published port each started in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// How long bytes pass in one turn, and how many turns make a round. Short ones and many, each compared with Docker's beside it: the machine
/// is faster in one minute than in the next, and where the scheduler puts the two ends makes half as much again.
const TURN: f64 = 0.3;
const TURNS: usize = 8;

/// Takes what comes on a port, and tells each client how many bytes it took when the client is done.
const RECEIVER: &str = "import socket, threading
def take(c):
    b = bytearray(1 << 20); n = 0
    while True:
        k = c.recv_into(b)
        if k == 0: break
        n += k
    c.sendall(str(n).encode()); c.close()
s = socket.create_server(('', 5001), family=socket.AF_INET)
while True:
    c, _ = s.accept()
    threading.Thread(target=take, args=(c,)).start()
";

/// Sends for a while; what it prints is how many bytes arrived in a second.
const SENDER: &str = "import socket, sys, time
for _ in range(100):
    try: c = socket.create_connection((sys.argv[1], 5001)); break
    except OSError: time.sleep(0.05)
b = memoryview(bytearray(1 << 20)); t = time.monotonic(); end = t + float(sys.argv[2])
while time.monotonic() < end: c.sendall(b)
c.shutdown(socket.SHUT_WR)
n = b''
while True:
    k = c.recv(64)
    if not k: break
    n += k
print(int(int(n) / (time.monotonic() - t)))
";

fn throughput(stage: &Stage, turns: usize) -> Result<(), String> {
    let listener = TcpListener::bind((HOST, 5001)).map_err(|e| format!("{HOST}:5001: {e}"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            take(stream);
        }
    });
    let mut targets = Vec::new();
    for who in BOTH {
        stage.must(who, &["network", "create", "wire"])?;
        stage.must(
            who,
            &[
                "run",
                "-d",
                "--name",
                "taker",
                "--network",
                "wire",
                "python",
                "python3",
                "-c",
                RECEIVER,
            ],
        )?;
        stage.must(
            who,
            &[
                "run",
                "-d",
                "--name",
                "giver",
                "--network",
                "wire",
                "python",
                "sleep",
                "100000",
            ],
        )?;
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        targets.push(stage.must(who, &["inspect", "--format", format, "taker"])?);
    }
    for (title, to_host) in [("container to container", false), ("container to host", true)] {
        let mut speeds = [Vec::new(), Vec::new()];
        // The first turn warms up.
        for turn in 0..=turns {
            for ((who, target), speeds) in BOTH.into_iter().zip(&targets).zip(&mut speeds) {
                let target = if to_host { HOST } else { target.as_str() };
                let told = stage.must(
                    who,
                    &[
                        "exec",
                        "giver",
                        "python3",
                        "-c",
                        SENDER,
                        target,
                        &TURN.to_string(),
                    ],
                )?;
                let speed: f64 = told.trim().parse().map_err(|e| format!("{told:?}: {e}"))?;
                if turn > 0 {
                    speeds.push(speed);
                }
            }
        }
        let ratio = median(
            speeds[0]
                .iter()
                .zip(&speeds[1])
                .map(|(docker, brig)| brig / docker),
        );
        let [docker, brig] = speeds.map(|speeds| median(speeds.into_iter()));
        let verdict = if ratio >= THROUGHPUT { "ok" } else { "below" };
        println!(
            "\n{title}, one stream, medians of {turns}\n  docker {:.2} GB/s, brig {:.2} GB/s\n  of docker's, turn by turn {ratio:.3} (at least {THROUGHPUT}) {verdict}",
            docker / 1e9,
            brig / 1e9
        );
    }
    for who in BOTH {
        stage.must(who, &["rm", "-f", "taker", "giver"])?;
        stage.must(who, &["network", "rm", "wire"])?;
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The receiver of the host.
fn take(mut stream: std::net::TcpStream) {
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0;
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            break;
        }
        sum += length;
    }
    if let Err(e) = stream.write_all(sum.to_string().as_bytes()) {
        eprintln!("containers: the receiver of the host: {e}");
    }
}
