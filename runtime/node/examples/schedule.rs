//! Measures how long the scheduler takes to choose a node out of a thousand: `cargo xtask bench tasks` runs it.

use std::{collections::HashMap, hint::black_box, time::Instant};

use manta_node::{
    placement::{Candidate, Placement, choose},
    resources::Resources,
};
use manta_proto::ids::NodeId;

const NODES: u16 = 1_000;
const DECISIONS: u32 = 1_000;
const ROUNDS: usize = 11;

struct Node {
    id: NodeId,
    total: Resources,
    free: Resources,
    labels: HashMap<String, String>,
}

fn amounts(cpus: u16, gpus: u16) -> Resources {
    let amounts = [("CPU", f64::from(cpus)), ("GPU", f64::from(gpus)), ("memory", 256e9)];
    Resources::from_amounts(amounts).expect("these are amounts")
}

fn node(number: u16) -> Node {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let labels = HashMap::from([("zone".to_owned(), format!("zone-{}", number % 8))]);
    // Most are full, as in a cluster that has to choose.
    Node { id: NodeId(id), total: amounts(64, 8), free: amounts(number % 64, number % 8), labels }
}

/// Microseconds a decision, the median of some rounds.
fn measure(nodes: &[Node], need: &Resources, placement: &Placement) -> f64 {
    let candidates = nodes.iter().enumerate().map(|(index, node)| Candidate {
        id: node.id,
        total: &node.total,
        free: Some(&node.free),
        labels: &node.labels,
        here: index == 0,
    });
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..DECISIONS {
            black_box(choose(black_box(need), placement, None, candidates.clone()));
        }
        rounds.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS));
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    let nodes: Vec<_> = (0..NODES).map(node).collect();
    let micros = measure(&nodes, &amounts(4, 1), &Placement::default());
    // The last line of a measuring program is its list of figures.
    let line =
        format!(r#"[{{"measure": "schedule.decision.1k_nodes", "unit": "us", "value": {micros:.2}}}]"#);
    #[expect(clippy::print_stdout, reason = "the program's output")]
    {
        println!("{line}");
    }
}
