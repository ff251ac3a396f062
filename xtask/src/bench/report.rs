//! Sets Manta's figures beside its peers': rows, ratios, table, file.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::workspace::target;

/// One figure as a measuring program prints it.
#[derive(Debug, Clone, Deserialize)]
pub struct Figure {
    /// Dotted, lower case, stable.
    pub measure: String,
    /// A unit that ends in "/s" is a rate; any other is a duration or a size.
    pub unit: String,
    /// The median over the rounds.
    pub value: f64,
    /// What was measured in place of Manta, by a program that measures Manta too.
    #[serde(default)]
    pub peer: Option<String>,
}

/// The figures of one system.
pub struct Figures {
    /// `manta`, or the peer's name.
    pub system: String,
    /// What it measured.
    pub figures: Vec<Figure>,
}

/// One row of the report: a measure and one peer.
#[derive(Debug, Serialize, PartialEq)]
struct Row {
    measure: String,
    unit: String,
    value: f64,
    peer: Option<String>,
    peer_value: Option<f64>,
    ratio: Option<f64>,
}

/// Writes `target/bench/NAME.json` and prints the rows.
///
/// # Errors
/// When the file cannot be written.
pub fn close(name: &str, systems: &[Figures], json: bool) -> Result<()> {
    let rows = rows(systems);
    let text = serde_json::to_string_pretty(&rows)? + "\n";
    let folder = target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, &text).with_context(|| format!("{} could not be written", file.display()))?;
    if json {
        print!("{text}");
    } else {
        rows.iter().for_each(|row| println!("{}", line(row)));
        println!("\nA ratio above 1 means that Manta is better. Written to {}", file.display());
    }
    Ok(())
}

fn rows(systems: &[Figures]) -> Vec<Row> {
    let own = systems.iter().filter(|system| system.system == "manta").flat_map(|system| &system.figures);
    own.flat_map(|figure| {
        let peers = systems.iter().filter(|system| system.system != "manta");
        let matching = peers.filter_map(|peer| {
            Some((peer, peer.figures.iter().find(|other| other.measure == figure.measure)?))
        });
        let mut rows: Vec<Row> =
            matching.map(|(peer, other)| row(figure, Some((&peer.system, other.value)))).collect();
        if rows.is_empty() {
            rows.push(row(figure, None));
        }
        rows
    })
    .collect()
}

fn row(figure: &Figure, peer: Option<(&str, f64)>) -> Row {
    let better_when_more = figure.unit.ends_with("/s");
    let ratio = |other: f64| if better_when_more { figure.value / other } else { other / figure.value };
    Row {
        measure: figure.measure.clone(),
        unit: figure.unit.clone(),
        value: figure.value,
        peer: peer.map(|(name, _)| name.to_owned()),
        peer_value: peer.map(|(_, value)| value),
        ratio: peer.map(|(_, value)| ratio(value)),
    }
}

fn line(row: &Row) -> String {
    let own = format!("{:<34} {:>12} {:<9}", row.measure, number(row.value), row.unit);
    match (&row.peer, row.peer_value, row.ratio) {
        (Some(peer), Some(value), Some(ratio)) => {
            format!("{own} {peer:<16} {:>12}   ratio {}", number(value), number(ratio))
        }
        _ => own.trim_end().to_owned(),
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_always_means_that_manta_is_better() {
        let figures = |system: &str, rate: f64, time: f64| Figures {
            system: system.to_owned(),
            figures: vec![
                Figure {
                    measure: "tasks.rate".to_owned(),
                    unit: "tasks/s".to_owned(),
                    value: rate,
                    peer: None,
                },
                Figure { measure: "start".to_owned(), unit: "ms".to_owned(), value: time, peer: None },
            ],
        };
        let rows = rows(&[figures("manta", 800.0, 10.0), figures("ray", 100.0, 40.0)]);
        assert_eq!(rows.iter().map(|row| row.ratio).collect::<Vec<_>>(), [Some(8.0), Some(4.0)]);
    }

    #[test]
    fn a_measure_without_a_peer_has_a_row_of_its_own() {
        let own = Figures {
            system: "manta".to_owned(),
            figures: vec![Figure { measure: "a".to_owned(), unit: "ms".to_owned(), value: 1.0, peer: None }],
        };
        let rows = rows(&[own]);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].peer.clone(), rows[0].ratio), (None, None));
    }
}
