//! Measures how fast Rust tasks and calls of actors are taken, run and answered. Its last line is a JSON list of figures.
//!
//! Usage: bench_tasks [--rounds COUNT]

#![expect(clippy::print_stdout, reason = "the program's output")]

use std::time::Instant;

const BATCH: u64 = 1000;
const ONE_BY_ONE: u64 = 300;

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

/// The median rate of `work`, which does `count` tasks, after one round that does not count.
fn rate(count: u64, rounds: u64, work: impl Fn()) -> f64 {
    let mut rates: Vec<f64> = (0..=rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            count as f64 / start.elapsed().as_secs_f64()
        })
        .skip(1)
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// The number behind `--rounds`.
fn rounds() -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    arguments.nth(1).and_then(|count| count.parse().ok()).unwrap_or(5)
}

fn main() {
    let _session = manta::init().unwrap_or_else(|error| panic!("{error}"));
    let rounds = rounds();
    let got = |refs: &[manta::ObjectRef<()>]| {
        manta::get_all(refs).unwrap_or_else(|error| panic!("{error}"));
    };
    let batch = rate(BATCH, rounds, || got(&(0..BATCH).map(|_| nothing.remote()).collect::<Vec<_>>()));
    let one = rate(ONE_BY_ONE, rounds, || (0..ONE_BY_ONE).for_each(|_| got(&[nothing.remote()])));
    let actor = Nothing::remote();
    got(&[actor.nothing().remote()]);
    let calls =
        rate(BATCH, rounds, || got(&(0..BATCH).map(|_| actor.nothing().remote()).collect::<Vec<_>>()));
    let call = rate(ONE_BY_ONE, rounds, || (0..ONE_BY_ONE).for_each(|_| got(&[actor.nothing().remote()])));
    let figures = [
        ("tasks.rust.batch", "tasks/s", batch),
        ("tasks.rust.one", "tasks/s", one),
        ("actors.rust.async", "calls/s", calls),
        ("actors.rust.one", "calls/s", call),
    ];
    let figures = figures.map(|(measure, unit, value)| {
        format!(r#"{{"measure": "{measure}", "unit": "{unit}", "value": {value}}}"#)
    });
    println!("[{}]", figures.join(", "));
}
