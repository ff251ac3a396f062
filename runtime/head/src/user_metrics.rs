//! Measures that programs define themselves (`manta.util.metrics`): each process reports the newest value of each, and the page for
//! Prometheus has them all. Counts of processes are added up and outlive them; gauges are each process's own.

use std::collections::{BTreeMap, HashMap};

use manta_proto::{
    ids::NodeId,
    v1::{UserMetric, UserMetrics as Report, user_metric::Kind},
};

/// Series, a name with its tags, that are kept.
const SERIES_MAX: usize = 20_000;

/// A name with its tags.
type Key = (String, BTreeMap<String, String>);

/// The measures of all processes.
#[derive(Default)]
pub(crate) struct UserMetrics {
    processes: HashMap<Vec<u8>, (NodeId, BTreeMap<Key, UserMetric>)>,
    /// What processes that ended have counted.
    ended: BTreeMap<Key, UserMetric>,
    series: usize,
    pub refused: u64,
}

/// One series of the page.
pub(crate) struct Series {
    pub kind: Kind,
    pub description: String,
    pub tags: Vec<(String, String)>,
    pub value: f64,
    pub boundaries: Vec<f64>,
    pub counts: Vec<u64>,
}

impl UserMetrics {
    pub fn on_report(&mut self, from: NodeId, report: Report) {
        let (_, known) =
            self.processes.entry(report.process_id.to_vec()).or_insert_with(|| (from, BTreeMap::new()));
        for metric in report.metrics {
            let key = (metric.name.clone(), metric.tags.clone().into_iter().collect());
            if known.contains_key(&key) || self.series < SERIES_MAX {
                self.series += usize::from(known.insert(key, metric).is_none());
            } else {
                self.refused += 1;
            }
        }
    }

    pub fn on_process_ended(&mut self, process: &[u8]) {
        let Some((_, known)) = self.processes.remove(process) else { return };
        self.series -= known.len();
        for (key, metric) in known {
            if metric.kind() != Kind::Gauge
                && (self.ended.contains_key(&key) || self.ended.len() < SERIES_MAX)
            {
                add(self.ended.entry(key).or_insert_with(|| empty(&metric)), &metric);
            }
        }
    }

    pub fn on_node_lost(&mut self, node: NodeId) {
        let of_node = self.processes.iter().filter(|(_, (on, _))| *on == node);
        let gone: Vec<_> = of_node.map(|(process, _)| process.clone()).collect();
        gone.iter().for_each(|process| self.on_process_ended(process));
    }

    /// The series by name.
    pub fn by_name(&self) -> BTreeMap<String, Vec<Series>> {
        let mut sums: BTreeMap<Key, UserMetric> = self.ended.clone();
        let mut all: BTreeMap<String, Vec<Series>> = BTreeMap::new();
        let mut processes: Vec<_> = self.processes.iter().collect();
        processes.sort_by_key(|(id, _)| *id);
        for (process, (_, known)) in processes {
            for (key, metric) in known {
                if metric.kind() == Kind::Gauge {
                    let id: String = process.iter().map(|byte| format!("{byte:02x}")).collect();
                    let series = series(key, metric, Some(id));
                    all.entry(key.0.clone()).or_default().push(series);
                } else {
                    add(sums.entry(key.clone()).or_insert_with(|| empty(metric)), metric);
                }
            }
        }
        for (key, metric) in &sums {
            all.entry(key.0.clone()).or_default().push(series(key, metric, None));
        }
        all
    }
}

fn series(key: &Key, metric: &UserMetric, process: Option<String>) -> Series {
    let mut tags: Vec<_> = key.1.clone().into_iter().collect();
    tags.extend(process.map(|id| ("WorkerId".to_owned(), id)));
    Series {
        kind: metric.kind(),
        description: metric.description.clone(),
        tags,
        value: metric.value,
        boundaries: metric.boundaries.clone(),
        counts: metric.counts.clone(),
    }
}

fn empty(like: &UserMetric) -> UserMetric {
    UserMetric { value: 0.0, counts: vec![0; like.counts.len()], ..like.clone() }
}

fn add(sum: &mut UserMetric, metric: &UserMetric) {
    sum.value += metric.value;
    // Processes that disagree about the boundaries cannot be added up; the first one's count.
    if sum.counts.len() == metric.counts.len() {
        for (sum, count) in sum.counts.iter_mut().zip(&metric.counts) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, kind: Kind, value: f64) -> UserMetric {
        UserMetric {
            name: name.into(),
            kind: kind.into(),
            value,
            counts: vec![1, 2],
            ..UserMetric::default()
        }
    }

    #[test]
    fn counts_outlive_their_process_and_gauges_do_not() {
        let mut metrics = UserMetrics::default();
        let node = NodeId([1; 16]);
        for process in [1_u8, 2] {
            let both = vec![metric("c", Kind::Counter, 2.0), metric("g", Kind::Gauge, 5.0)];
            metrics.on_report(node, Report { process_id: vec![process].into(), metrics: both });
        }
        let all = metrics.by_name();
        assert_eq!((all["c"].len(), all["c"][0].value, all["g"].len()), (1, 4.0, 2));
        metrics.on_process_ended(&[1]);
        metrics.on_node_lost(node);
        let all = metrics.by_name();
        assert_eq!((all["c"][0].value, &all["c"][0].counts[..]), (4.0, &[2, 4][..]));
        assert!(!all.contains_key("g"));
        assert_eq!(metrics.series, 0);
    }
}
