//! Fuzzing without a nightly compiler: damages the corpus, section by section, and runs a body on what comes of it.
//!
//! ```text
//! cargo run --package manta-fuzz --bin mutate -- dwarf --seconds 600
//! cargo run --package manta-fuzz --bin mutate -- dwarf --input fuzz/findings/dwarf-123
//! ```
//!
//! A panic, a run of more than `--slowest` seconds and one that takes more than `--memory` MiB are findings: their inputs are
//! written to `--findings`, and the exit code is 1. A crash of the process leaves its input as `current-BODY` there.

#![allow(clippy::print_stdout)]

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use clap::Parser;
use manta_fuzz::mutation::{Chance, mutated};
use manta_fuzz::{BODIES, Body, folders};

#[path = "../counting.rs"]
mod counting;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting(System);

#[derive(Parser)]
#[command(about = "Damages the corpus and runs a body on what comes of it.")]
struct Options {
    /// What to fuzz: core_file, dap, dwarf, expression, index, profile, split or unwinder.
    body: String,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Another seed gives other inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs this input alone.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Where findings are put.
    #[arg(long, default_value = "target/fuzz-findings")]
    findings: PathBuf,
    /// Longer than this is a hang.
    #[arg(long, default_value_t = 5)]
    slowest: u64,
    /// More than this is too much.
    #[arg(long, default_value_t = 256)]
    memory: u64,
}

/// Where the last panic was.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// Rises with each input, so that the watch sees one that does not end.
static INPUTS: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(body) = BODIES.iter().find(|body| body.name == options.body) else {
        let names: Vec<_> = BODIES.iter().map(|body| body.name).collect();
        println!("nothing is called {}; there are {}", options.body, names.join(", "));
        return ExitCode::FAILURE;
    };
    fs::create_dir_all(&options.findings).expect("the folder of findings can be made");
    if let Some(path) = &options.input {
        let begun = Instant::now();
        counting::reset();
        (body.run)(&fs::read(path).expect("the input can be read"));
        println!("{:?}, {} KiB", begun.elapsed(), counting::peak() >> 10);
        return ExitCode::SUCCESS;
    }
    let findings = fuzz(body, &options);
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fuzz(body: &Body, options: &Options) -> u64 {
    let current = options.findings.join(format!("current-{}", body.name));
    let seeds: Vec<Vec<u8>> = folders(body.name)
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| fs::read(entry.path()).expect("the corpus can be read"))
        .collect();
    assert!(!seeds.is_empty(), "the corpus of {} is empty", body.name);
    watch(options.slowest, current.clone());
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        *PLACE.lock().expect("no panic happens here") = place;
    }));
    let mut chance = Chance::new(options.seed);
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let (mut findings, mut slowest, mut largest) = (0, Duration::ZERO, 0);
    while Instant::now() < until {
        let seed = &seeds[chance.below(seeds.len())];
        let other = &seeds[chance.below(seeds.len())];
        let input = mutated(seed, other, &mut chance);
        fs::write(&current, &input).expect("the input can be kept");
        INPUTS.fetch_add(1, Ordering::Relaxed);
        counting::reset();
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (body.run)(&input)));
        slowest = slowest.max(begun.elapsed());
        largest = largest.max(counting::peak());
        let why = match result {
            Err(panic) => Some(format!("{} at {}", text(panic.as_ref()), PLACE.lock().expect("as above"))),
            Ok(()) if counting::peak() > (options.memory as usize) << 20 => {
                Some(format!("{} MiB", counting::peak() >> 20))
            }
            Ok(()) => None,
        };
        if let Some(why) = why {
            findings += 1;
            keep(&options.findings, body.name, &input, &why);
        }
    }
    let inputs = INPUTS.load(Ordering::Relaxed);
    println!(
        "{}: {inputs} inputs, {findings} findings; slowest {slowest:?}, most memory {} KiB",
        body.name,
        largest >> 10
    );
    findings
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn keep(folder: &Path, body: &str, input: &[u8], why: &str) {
    let name = format!("{body}-{:016x}", manta_fuzz::mutation::hash(input));
    println!("{name}: {why}");
    fs::write(folder.join(name), input).expect("a finding can be kept");
}

/// Ends the program when an input takes too long; that input stays in its file.
fn watch(slowest: u64, current: PathBuf) {
    thread::spawn(move || {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            thread::sleep(Duration::from_millis(200));
            let now = INPUTS.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if now > 0 && since.elapsed() > Duration::from_secs(slowest) {
                println!("{}: takes more than {slowest} s", current.display());
                std::process::exit(2);
            }
        }
    });
}
