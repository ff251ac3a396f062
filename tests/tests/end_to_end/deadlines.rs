//! Promise 2: deadlines that the runtime owns do not run out because a task is paused.

use std::time::Duration;

use anyhow::{Result, ensure};
use manta_tests::{Cluster, DapClient, cluster};
use serde_json::json;

use crate::support::Language;

/// Longer than a cold worker takes to reach the line on a busy machine: until then the deadline runs, as it should.
const TIMEOUT: Duration = Duration::from_secs(4);

#[test]
fn a_paused_python_task_does_not_expire_the_drivers_get() -> Result<()> {
    holds(Language::Python, &["--timeout", "4"])
}

#[test]
fn a_paused_rust_task_does_not_expire_the_drivers_get() -> Result<()> {
    holds(Language::Rust, &["--timeout-ms", "4000"])
}

fn holds(language: Language, arguments: &[&str]) -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&language.source("deadline")])?;
    let driver = language.start(&cluster, "deadline", arguments)?;
    let task = client.paused(1)?[0].id;

    // The driver would end if its deadline ran out, so its end is what is waited for, past the deadline.
    let ended = cluster::ended_within(driver.pid(), TIMEOUT * 3 / 2);
    ensure!(!ended, "get ran out while its task was paused: {:?}", driver.end()?);

    client.resume(task)?;
    let result = driver.result()?;
    ensure!(result.trim() == "42", "the driver printed {result:?}");
    client.close()
}
