//! A program that knows nothing of Manta, for the native engine alone. It answers each number on its input with a sum.

use std::io::BufRead;

unsafe extern "C" {
    fn prctl(option: i32, ...) -> i32;
}

fn sum(last: u64) -> u64 {
    let mut total = 0;
    for number in 1..=last {
        total += number; // stop here
    }
    total
}

fn main() {
    // SAFETY: PR_SET_PTRACER with "any" takes numbers only; a kernel without Yama does not know it.
    unsafe { prctl(0x5961_6d61, -1_i64) };
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        println!("sum {}", sum(line.unwrap().parse().unwrap()));
    }
}
