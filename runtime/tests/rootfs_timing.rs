//! How long each step takes for the default bundle. Not a test: run it by
//! `cargo test --release -p runtime --test rootfs_timing -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rootfs_cases;

use rootfs_cases::{Bundle, alone};
use runtime::rootfs::*;
use serde_json::json;
use std::os::fd::AsFd;
use std::time::Instant;
use sys::process::Forked;

const ROUNDS: usize = 300;

#[test]
#[ignore = "a measurement"]
fn microseconds_to_plan() {
    let bundle = Bundle::at("/bundle");
    let plan = bundle.planner(&json!({}));
    let mut all: Vec<f64> = (0..2000)
        .map(|_| {
            let began = Instant::now();
            std::hint::black_box(plan());
            began.elapsed().as_nanos() as f64 / 1000.0
        })
        .collect();
    let first = all[0];
    all.sort_by(f64::total_cmp);
    println!("plan {:.1} us (first {first:.1})", all[all.len() / 2]);
}

#[test]
#[ignore = "a measurement"]
fn microseconds_per_step() {
    alone("microseconds_per_step", || {
        let bundle = Bundle::new();
        let plan = bundle.plan(&json!({})).unwrap();
        let mut all: Vec<(String, Vec<f64>)> = Vec::new();
        for _ in 0..ROUNDS {
            for (n, (name, us)) in one_round(&plan).into_iter().enumerate() {
                if all.len() <= n {
                    all.push((name, Vec::new()));
                }
                all[n].1.push(us);
            }
        }
        let mut sum = 0.0;
        let mut out = String::new();
        for (name, mut us) in all {
            us.sort_by(f64::total_cmp);
            let median = us[us.len() / 2];
            sum += median;
            out += &format!("{name:24} {median:7.1} us (least {:.1})\n", us[0]);
        }
        out += &format!("{:24} {sum:7.1} us\n", "sum");
        std::fs::write("/proc/self/fd/1", out).unwrap();
        panic!("printed above");
    });
}

fn one_round(plan: &RootfsPlan) -> Vec<(String, f64)> {
    let (read, write) = sys::fs::pipe().unwrap();
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    match sys::process::fork(flags as u64, None).unwrap() {
        Forked::Child => {
            let text = steps(plan);
            sys::fs::write_once(write.as_fd(), text.as_bytes()).unwrap();
            sys::process::exit_now(0)
        }
        Forked::Parent { pid, .. } => {
            drop(write);
            let text = sys::fs::read_all(read.as_fd(), 1 << 16).unwrap();
            sys::process::wait_pid(pid, sys::process::Block::Yes).unwrap();
            let text = String::from_utf8(text).unwrap();
            let line = |l: &str| {
                let (name, us) = l.split_once('=').unwrap();
                (name.to_string(), us.parse().unwrap())
            };
            text.lines().map(line).collect()
        }
    }
}

fn steps(plan: &RootfsPlan) -> String {
    let mut out = String::new();
    let mut last = Instant::now();
    let mut lap = |name: &str| {
        out += &format!("{name}={}\n", last.elapsed().as_nanos() as f64 / 1000.0);
        last = Instant::now();
    };
    let cgroups = CgroupMounts::default();
    apply_propagation(plan).unwrap();
    lap("propagation");
    let mut root = open_root(plan).unwrap();
    lap("root");
    for m in &plan.mounts {
        apply_mount(&mut root, m, None, &cgroups).unwrap();
        lap(&m.destination.to_string());
    }
    apply_devices(&mut root, plan.devices.as_ref().unwrap()).unwrap();
    lap("devices");
    apply_masked_paths(&mut root, &plan.masked).unwrap();
    lap("masked paths");
    apply_readonly_paths(&mut root, &plan.readonly_paths).unwrap();
    lap("read-only paths");
    apply_late_readonly(&mut root).unwrap();
    lap("late read-only");
    apply_pivot(&mut root, plan).unwrap();
    lap("pivot");
    apply_readonly_root(&root).unwrap();
    lap("read-only root");
    out
}
