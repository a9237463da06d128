//! Whether the container is well: a probe is run in it every now and then.
//!
//! May not: do anything about it. Who is told decides.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use monitor::launch;
use monitor::protocol::Exec;
use monitor::state::{Health, Probe, Status, stamp};
use serde_json::Value;

use crate::exec;
use crate::io::{Io, Kept};
use crate::monitor::{Monitor, Run};

const STARTING: &str = "starting";
const HEALTHY: &str = "healthy";
/// Also of one that has ended.
pub const UNHEALTHY: &str = "unhealthy";

/// Results that are kept.
const RESULTS: usize = 5;
/// Bytes of a probe's output that are kept.
const OUTPUT: usize = 4096;
/// The exit code of a probe that could not be run or was killed for its time.
const NO_RESULT: i32 = -1;
/// How long a probe that was killed may take to be gone.
const KILLED: Duration = Duration::from_secs(10);

/// The times with their defaults.
#[derive(Debug, Clone, Copy)]
struct Times {
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Times {
    fn of(health: &launch::Health) -> Times {
        let or = |nanos, seconds| match nanos {
            0 => Duration::from_secs(seconds),
            nanos => Duration::from_nanos(nanos),
        };
        Times {
            interval: or(health.interval, 30),
            timeout: or(health.timeout, 30),
            start_period: or(health.start_period, 0),
            start_interval: or(health.start_interval, 5),
            retries: match health.retries {
                0 => 3,
                retries => retries,
            },
        }
    }

    /// Until the next probe.
    fn pause(&self, status: &str, uptime: Duration) -> Duration {
        match uptime < self.start_period && status == STARTING {
            true => self.start_interval,
            false => self.interval,
        }
    }

    /// What a result makes of it.
    fn judge(&self, health: &mut Health, result: Probe, uptime: Duration) {
        if result.exit_code == 0 {
            health.failing_streak = 0;
            health.status = HEALTHY.into();
        } else if health.status != STARTING || uptime >= self.start_period {
            health.failing_streak += 1;
            if health.failing_streak >= self.retries {
                health.status = UNHEALTHY.into();
            }
        }
        health.log.push(result);
        let surplus = health.log.len().saturating_sub(RESULTS);
        health.log.drain(..surplus);
    }
}

/// Asks until the run has ended.
pub async fn watch(monitor: Rc<Monitor>, run: Rc<Run>, wish: launch::Health) {
    let times = Times::of(&wish);
    let began = Instant::now();
    monitor.change(|state| {
        state.health = Some(Health {
            status: STARTING.into(),
            ..Health::default()
        });
    });
    loop {
        let status = status(&monitor);
        monitor
            .on
            .reactor
            .sleep(times.pause(&status, began.elapsed()))
            .await;
        // One that stands still cannot be asked.
        let goes = || (monitor.status() != Status::Paused || run.ended.is_set()).then_some(());
        monitor.bell.until(goes).await;
        if run.ended.is_set() || monitor.status() != Status::Running {
            return;
        }
        let asked = began.elapsed();
        let result = probe(&monitor, &wish, times.timeout).await;
        if run.ended.is_set() || !Rc::ptr_eq(&run, &monitor.run()) {
            return;
        }
        let before = status;
        monitor.change(|state| {
            if let Some(health) = &mut state.health {
                times.judge(health, result, asked);
            }
        });
        let now = self::status(&monitor);
        if now != before {
            monitor.tell(format!("health_status: {now}"), &[]);
        }
    }
}

fn status(monitor: &Monitor) -> String {
    let state = monitor.state.borrow();
    state
        .health
        .as_ref()
        .map(|h| h.status.clone())
        .unwrap_or_default()
}

async fn probe(monitor: &Rc<Monitor>, wish: &launch::Health, timeout: Duration) -> Probe {
    let kept = Kept::new(OUTPUT);
    let io = Io::kept(&kept);
    let mut process = wish.process.clone();
    process["args"] = wish
        .command
        .iter()
        .map(|word| Value::from(word.as_str()))
        .collect();
    let request = Exec {
        process,
        stdout: true,
        stderr: true,
        ..Exec::default()
    };
    let start = stamp(SystemTime::now());
    let (exit_code, output) = match exec::start(monitor, &io, request).await {
        Err(refusal) => (NO_RESULT, refusal.message),
        Ok(running) => {
            let until = Some(Instant::now() + timeout);
            let ended = exec::see_to_end(monitor, &running, &io);
            match monitor.on.reactor.within(until, ended).await {
                Some(code) => (code, said(&kept)),
                None => {
                    kill(monitor, &running, &io).await;
                    (NO_RESULT, too_late(timeout, &said(&kept)))
                }
            }
        }
    };
    Probe {
        start,
        end: stamp(SystemTime::now()),
        exit_code,
        output,
    }
}

async fn kill(monitor: &Rc<Monitor>, running: &exec::Running, io: &Io) {
    let killed = running
        .container
        .kill(&running.id, libc::SIGKILL as u32, false, None)
        .await;
    if let Err(e) = killed
        && e.kind() != shim::error::Kind::NotFound
    {
        monitor.note(&format!("failed to kill a probe: {e}"));
    }
    let until = Some(Instant::now() + KILLED);
    let ended = exec::see_to_end(monitor, running, io);
    // One in a wait that no signal ends is seen to by the container's end.
    let _ = monitor.on.reactor.within(until, ended).await;
}

fn said(kept: &Kept) -> String {
    let mut text = String::from_utf8_lossy(&kept.bytes.borrow()).into_owned();
    if kept.cut.get() {
        text.push_str("...");
    }
    text
}

fn too_late(timeout: Duration, output: &str) -> String {
    let timeout = as_go_writes(timeout);
    match output.is_empty() {
        true => format!("Health check exceeded timeout ({timeout})"),
        false => format!("Health check exceeded timeout ({timeout}): {output}"),
    }
}

/// `300ms`, `1.5s`, `1m0s`, `2h0m0s`.
fn as_go_writes(time: Duration) -> String {
    let whole = time.as_secs();
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    let seconds = (time - Duration::from_secs(whole / 60 * 60)).as_secs_f64();
    match (hours, minutes) {
        (0, 0) if time < Duration::from_secs(1) => format!("{}ms", seconds * 1000.0),
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn result(exit_code: i32) -> Probe {
        Probe {
            exit_code,
            ..Probe::default()
        }
    }

    fn health() -> Health {
        Health {
            status: STARTING.into(),
            ..Health::default()
        }
    }

    #[test]
    fn some_failures_in_a_row_make_it_unhealthy_and_one_success_heals() {
        let times = Times::of(&launch::Health::default());
        let mut h = health();
        for (code, status, streak) in [
            (1, STARTING, 1),
            (1, STARTING, 2),
            (0, HEALTHY, 0),
            (1, HEALTHY, 1),
            (1, HEALTHY, 2),
            (-1, UNHEALTHY, 3),
            (1, UNHEALTHY, 4),
            (0, HEALTHY, 0),
        ] {
            times.judge(&mut h, result(code), Duration::ZERO);
            assert_eq!((h.status.as_str(), h.failing_streak), (status, streak));
        }
        assert_eq!(h.log.len(), RESULTS);
        let codes: Vec<i32> = h.log.iter().map(|p| p.exit_code).collect();
        assert_eq!(codes, [1, 1, -1, 1, 0]);
    }

    #[test]
    fn times_are_as_go_writes_them() {
        for (millis, text) in [
            (300, "300ms"),
            (1500, "1.5s"),
            (30_000, "30s"),
            (60_000, "1m0s"),
            (7_201_000, "2h0m1s"),
        ] {
            assert_eq!(as_go_writes(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn failures_of_the_start_period_do_not_count() {
        let times = Times {
            start_period: Duration::from_secs(60),
            ..Times::of(&launch::Health::default())
        };
        let early = Duration::from_secs(59);
        let mut h = health();
        times.judge(&mut h, result(1), early);
        assert_eq!(h.failing_streak, 0);
        assert_eq!(times.pause(&h.status, early), Duration::from_secs(5));
        times.judge(&mut h, result(0), early);
        assert_eq!(times.pause(&h.status, early), Duration::from_secs(30));
        times.judge(&mut h, result(1), early);
        assert_eq!(h.failing_streak, 1, "it was healthy once");
    }
}
