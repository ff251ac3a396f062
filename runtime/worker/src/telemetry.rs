//! What a process tells about itself: its own measures, and where its threads are.

use std::sync::Arc;

use manta_proto::v1::{UserMetric, UserMetrics, process_to_node, user_metric::Kind};

use crate::{Core, reactor::Effect};

/// What a measure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasureKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often values fell between boundaries.
    Histogram,
}

/// The newest value of a measure with these tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// How it is counted.
    pub kind: MeasureKind,
    /// What tells it apart from others of the name.
    pub tags: Vec<(String, String)>,
    /// The value; of a histogram, the sum.
    pub value: f64,
    /// A histogram's boundaries.
    pub boundaries: Vec<f64>,
    /// How many values each bucket has: one more than there are boundaries.
    pub counts: Vec<u64>,
}

impl Core {
    /// Reports measures of the program's own, for the cluster's page for Prometheus.
    pub fn report_measures(&self, measures: Vec<Measure>) {
        let metric = |measure: Measure| UserMetric {
            name: measure.name,
            description: measure.description,
            kind: match measure.kind {
                MeasureKind::Counter => Kind::Counter,
                MeasureKind::Gauge => Kind::Gauge,
                MeasureKind::Histogram => Kind::Histogram,
            }
            .into(),
            tags: measure.tags.into_iter().collect(),
            value: measure.value,
            boundaries: measure.boundaries,
            counts: measure.counts,
        };
        let metrics = measures.into_iter().map(metric).collect();
        self.0.with(|state| {
            let report = UserMetrics { process_id: state.me.process.to_bytes(), metrics };
            state.push_effect(Effect::ToNode(Box::new(process_to_node::Message::UserMetrics(report))));
        });
    }

    /// Sets what says where the threads of this process are, as JSON. It is called on a thread of its own.
    pub fn set_stack_handler(&self, handler: Arc<dyn Fn() -> String + Send + Sync>) {
        self.0.set_stack_handler(handler);
    }
}
