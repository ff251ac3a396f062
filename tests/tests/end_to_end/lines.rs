//! Lines: what goes straight between an adapter and the engines of its machine.

use anyhow::{Result, ensure};
use manta_tests::{Cluster, DapClient, cluster::Frozen};
use serde_json::json;

use crate::support::{BOTH, explained, resume_until_done};

#[test]
fn tasks_are_stepped_and_shown_while_head_and_node_stand_still() -> Result<()> {
    const ONE: &[&str] = &["--tasks", "1"];
    let cluster = Cluster::start(1, 2)?;
    let mut plain = Vec::new();
    for language in BOTH {
        plain.push(language.start(&cluster, "forty_tasks", ONE)?.result()?);
    }
    let mut client = DapClient::stdio()?;
    let sources = BOTH.map(|language| language.source("forty_tasks"));
    client.attach_with_breakpoints(&cluster, &json!({}), &[&sources[0], &sources[1]])?;
    let mut drivers = Vec::new();
    for language in BOTH {
        drivers.push(language.start(&cluster, "forty_tasks", ONE)?);
    }
    let paused = client.paused(2);
    let paused = explained(paused, &mut drivers)?;
    let mut lines = Vec::new();
    for task in &paused {
        // When it is answered, all that was said over the node before is heard.
        client.step_over(task.id)?;
        let extra = client.local(task.id, "extra")?;
        ensure!(extra.value == "6", "the length of \"task 0\" shows as {extra:?}");
        lines.push(client.top_frame(task.id)?.line);
    }
    // Both are in this process.
    let frozen = Frozen::new(cluster.pid())?;
    for task in &paused {
        client.step_over(task.id)?;
        let (number, line) = (client.local(task.id, "number")?, client.top_frame(task.id)?.line);
        ensure!(number.value == "0", "the task's number shows as {number:?}");
        ensure!(!lines.contains(&line), "a step stayed in line {line}");
    }
    drop(frozen);
    let results = resume_until_done(&mut client, drivers)?;
    ensure!(results == plain, "the jobs gave {results:?}, and {plain:?} undisturbed");
    client.close()?;
    cluster.stop()
}
