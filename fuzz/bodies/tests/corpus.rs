//! The stored corpus: every input that once was a finding, and every seed. Each comes back in time and in bounds.

use std::alloc::System;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use manta_fuzz::mutation::{Chance, mutated};
use manta_fuzz::{BODIES, folders};

#[path = "../src/counting.rs"]
mod counting;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting(System);

/// Far more than any input takes, also on a busy machine: an input that does not end fails the test and does not stop it.
const SLOWEST: Duration = Duration::from_secs(20);
/// Far more than any input needs: one that grows without bound fails.
const MEMORY_BYTES_MAX: usize = 256 << 20;
/// Damaged inputs of each seed, besides the stored ones.
const FRESH: u64 = 8;

fn inputs(body: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut inputs: Vec<_> = folders(body)
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// One test, because what it counts belongs to the whole process.
#[test]
fn every_input_comes_back_in_time_and_in_bounds() {
    for body in BODIES {
        let inputs = inputs(body.name);
        assert!(!inputs.is_empty(), "{} has a corpus", body.name);
        let check = |name: &str, input: &[u8]| {
            counting::reset();
            let begun = Instant::now();
            let result = catch_unwind(|| (body.run)(input));
            assert!(result.is_ok(), "{} panics on {name}", body.name);
            assert!(begun.elapsed() < SLOWEST, "{} took {:?} for {name}", body.name, begun.elapsed());
            assert!(
                counting::peak() < MEMORY_BYTES_MAX,
                "{} took {} bytes for {name}",
                body.name,
                counting::peak()
            );
        };
        for (number, (path, input)) in inputs.iter().enumerate() {
            check(&path.display().to_string(), input);
            let other = &inputs[(number + 1) % inputs.len()].1;
            for seed in 0..FRESH {
                let mut chance = Chance::new(seed << 32 | number as u64);
                check(
                    &format!("{} damaged with seed {seed} and {number}", path.display()),
                    &mutated(input, other, &mut chance),
                );
            }
        }
    }
}
