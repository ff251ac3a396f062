//! Measures how fast Rust tasks and calls of actors are taken, run and answered. Its last line is a JSON list of figures.
//!
//! Usage: bench_tasks [--rounds COUNT] [--only MEASURE]

#![expect(clippy::print_stdout, reason = "the program's output")]

use std::time::{Duration, Instant};

const BATCH: u64 = 1000;
const ONE_BY_ONE: u64 = 300;
/// A batch takes some milliseconds, which whatever else the machine does can double.
const ROUND_MIN: Duration = Duration::from_millis(100);

#[manta::task]
fn nothing() {}

struct Nothing;

#[manta::actor]
impl Nothing {
    fn new() -> Self {
        Self
    }

    fn nothing(&self) {}
}

/// The median rate of `work`, which does `count` tasks, again and again in each round; after one round that does not count.
fn rate(count: u64, rounds: u64, work: impl Fn()) -> f64 {
    let mut rates: Vec<f64> = (0..=rounds)
        .map(|_| {
            let (start, mut done) = (Instant::now(), 0);
            while start.elapsed() < ROUND_MIN {
                work();
                done += count;
            }
            done as f64 / start.elapsed().as_secs_f64()
        })
        .skip(1)
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// What stands behind a flag.
fn flag(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn main() {
    let _session = manta::init().unwrap_or_else(|error| panic!("{error}"));
    let rounds = flag("--rounds").and_then(|count| count.parse().ok()).unwrap_or(5);
    let only = flag("--only");
    let got = |refs: &[manta::ObjectRef<()>]| {
        manta::get_all(refs).unwrap_or_else(|error| panic!("{error}"));
    };
    let actor = Nothing::remote();
    got(&[actor.nothing().remote()]);
    let tasks = || got(&(0..BATCH).map(|_| nothing.remote()).collect::<Vec<_>>());
    let task = || (0..ONE_BY_ONE).for_each(|_| got(&[nothing.remote()]));
    let calls = || got(&(0..BATCH).map(|_| actor.nothing().remote()).collect::<Vec<_>>());
    let call = || (0..ONE_BY_ONE).for_each(|_| got(&[actor.nothing().remote()]));
    let measures: [(_, _, _, &dyn Fn()); 4] = [
        ("tasks.rust.batch", "tasks/s", BATCH, &tasks),
        ("tasks.rust.one", "tasks/s", ONE_BY_ONE, &task),
        ("actors.rust.async", "calls/s", BATCH, &calls),
        ("actors.rust.one", "calls/s", ONE_BY_ONE, &call),
    ];
    let wanted = measures.iter().filter(|(measure, ..)| only.as_deref().is_none_or(|only| only == *measure));
    let figures: Vec<_> = wanted
        .map(|(measure, unit, count, work)| {
            let value = rate(*count, rounds, work);
            format!(r#"{{"measure": "{measure}", "unit": "{unit}", "value": {value}}}"#)
        })
        .collect();
    println!("[{}]", figures.join(", "));
}
