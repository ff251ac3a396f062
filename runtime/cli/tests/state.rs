//! `manta list`, `get`, `summary` and `timeline` of a real cluster, whose tasks a driver of the test tells of.

mod support;

use manta_proto::{
    ids::TaskId,
    v1::{TaskEvent, TaskEvents, process_to_node, task_event::State},
};
use serde_json::Value;
use support::{Local, eventually, worker_program};

#[tokio::test]
#[ignore = "no test: the other tests start it as a worker"]
async fn worker() {
    support::be_a_worker().await;
}

fn run(cluster: &Local, args: &[&str]) -> Result<String, String> {
    let output = support::manta()
        .args(args)
        .env("MANTA_ADDRESS", &cluster.address)
        .env("MANTA_TOKEN", cluster.token.as_str())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn json(cluster: &Local, args: &[&str]) -> Value {
    serde_json::from_str(&run(cluster, &[args, &["--json"]].concat()).unwrap()).unwrap()
}

#[tokio::test]
async fn tasks_are_listed_filtered_counted_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(1, 1.0);
    let mut driver = cluster.driver(0, &worker_program(folder.path())).await;
    let grant = driver.lease(1).await;
    let failed = TaskId::random();
    let event = |id: TaskId, state: State| TaskEvent {
        task_id: id.to_bytes(),
        state: state.into(),
        name: "square".into(),
        node_id: grant.node_id.clone(),
        worker_id: grant.worker_id.clone(),
        submitted_us_ago: 3_000_000,
        started_us_ago: Some(2_000_000),
        ended_us_ago: (state != State::Running).then_some(500_000),
        error: if state == State::Failed { "ValueError: no".into() } else { String::new() },
        ..TaskEvent::default()
    };
    let batch = TaskEvents {
        job_id: driver.job.job_id.clone(),
        sent_unix_us: 1_000_000_000_000_000,
        events: vec![event(failed, State::Failed), event(TaskId::random(), State::Running)],
        ..TaskEvents::default()
    };
    driver.say(process_to_node::Message::TaskEvents(batch)).await;
    eventually("the head lists the tasks", || json(&cluster, &["list", "tasks"])["total"] == 2).await;

    let listed = json(&cluster, &["list", "tasks", "--filter", "state=FAILED"]);
    let row = &listed["rows"][0];
    assert_eq!((listed["total"].as_u64(), &row["error"]), (Some(1), &Value::from("ValueError: no")));
    assert_eq!(
        (&row["node_name"], &row["worker_pid"]),
        (&Value::from("node-1"), &Value::from(grant.worker_pid))
    );
    let text = run(&cluster, &["list", "tasks", "--filter", "state!=RUNNING"]).unwrap();
    assert!(text.contains("square") && text.contains("1.5 s") && !text.contains("RUNNING"), "{text}");
    let one = run(&cluster, &["get", "tasks", &failed.to_string()[..12]]).unwrap();
    assert!(one.contains(&failed.to_string()) && one.contains("ValueError: no"), "{one}");
    let counts = run(&cluster, &["summary", "tasks"]).unwrap();
    assert!(counts.starts_with("NAME    FAILED  RUNNING\nsquare  1       1\n"), "{counts}");
    let page = run(&cluster, &["list", "tasks", "--limit", "1"]).unwrap();
    assert!(page.contains("1 of 2 are shown; go on with --page 2"), "{page}");

    let file = folder.path().join("trace.json");
    run(&cluster, &["timeline", "-o", file.to_str().unwrap()]).unwrap();
    let trace: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let span = trace.iter().find(|event| event["cname"] == "terrible").unwrap();
    assert_eq!((span["dur"].as_u64(), span["ts"].as_u64()), (Some(1_500_000), Some(999_999_998_000_000)));

    let workers = json(&cluster, &["list", "workers"]);
    assert_eq!(workers["rows"][0]["pid"], grant.worker_pid);
    let jobs = json(&cluster, &["list", "jobs", "--filter", "state=running"]);
    assert_eq!(jobs["total"], 1);
    drop(driver);
    eventually("the job's end is its tasks' end", || {
        json(&cluster, &["summary", "tasks"])["rows"][0]["states"]["FAILED"] == 2
    })
    .await;
}

#[test]
fn what_cannot_be_listed_is_said_in_a_sentence() {
    let cluster = Local::start(1, 1.0);
    let refused = run(&cluster, &["list", "tasks", "--filter", "colour=red"]).unwrap_err();
    assert!(refused.contains("there is no 'colour' to filter by; there are task_id"), "{refused}");
    let refused = run(&cluster, &["get", "tasks", "abc"]).unwrap_err();
    assert!(refused.contains("knows none of its tasks by the id 'abc'"), "{refused}");
    let refused = run(&cluster, &["list", "tasks", "--filter", "state"]).unwrap_err();
    assert!(refused.contains("key=value"), "{refused}");
    let groups = json(&cluster, &["list", "placement-groups"]);
    assert_eq!(groups["total"], 0);
    let nodes = run(&cluster, &["list", "nodes"]).unwrap();
    assert!(nodes.contains("node-1") && nodes.contains("ALIVE") && nodes.contains("CPU 1"), "{nodes}");
}
