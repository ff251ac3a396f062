//! Looks at all paused tasks and prints them as a table.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use dap::{StackFramePresentationHint, Thread, Variable};
use manta_tests::{DapClient, client::Frame};

use crate::terminal::Terminal;

/// Frames that are asked for; those of the runtime below the task are left out.
const FRAMES: i32 = 12;
/// The user's frames that a row shows.
const STACK_SHOWN: usize = 3;
const VALUE_CHARS_MAX: usize = 36;
const VARIABLES_SHOWN: usize = 3;

/// What one paused task looks like.
pub struct Row {
    node: String,
    task: String,
    location: String,
    stack: String,
    variables: String,
}

/// Asks for every task's stack and variables.
///
/// # Errors
/// When a request fails.
pub fn at_all(client: &mut DapClient, paused: &[Thread]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for thread in paused {
        let frames = client.stack(thread.id, FRAMES)?;
        let Some(top) = frames.first() else { bail!("{} is paused and has no stack", thread.name) };
        let locals = client.locals(top.id)?;
        let mut parts = thread.name.split(" · ");
        let task = parts.next().unwrap_or_default().to_owned();
        let node = parts.next().unwrap_or_default().to_owned();
        rows.push(Row {
            node,
            task,
            location: location(top),
            stack: stack(&frames),
            variables: variables(&locals),
        });
    }
    rows.sort_by(|a, b| (&a.node, &a.location, &a.variables).cmp(&(&b.node, &b.location, &b.variables)));
    Ok(rows)
}

fn location(frame: &Frame) -> String {
    let source = frame.source.as_ref();
    let name = source.and_then(|source| {
        source.name.clone().or_else(|| Some(source.path.clone()?.rsplit('/').next()?.to_owned()))
    });
    format!("{}:{}", name.unwrap_or_else(|| "?".to_owned()), frame.line)
}

/// The user's frames, innermost first, without the paths of their modules.
fn stack(frames: &[Frame]) -> String {
    let own =
        frames.iter().filter(|frame| frame.presentation_hint != Some(StackFramePresentationHint::Subtle));
    let mut names: Vec<&str> =
        own.map(|frame| frame.name.rsplit("::").next().unwrap_or(&frame.name)).collect();
    let more = names.len().saturating_sub(STACK_SHOWN);
    names.truncate(STACK_SHOWN);
    let text = names.join(" < ");
    if more > 0 { format!("{text} < {more} more") } else { text }
}

/// Plain values say more in a table than containers do, so they come first.
fn variables(locals: &[Variable]) -> String {
    let (plain, containers): (Vec<_>, Vec<_>) =
        locals.iter().partition(|variable| !variable.variables_reference.has_children());
    let shown = plain.into_iter().chain(containers).take(VARIABLES_SHOWN);
    let shown =
        shown.map(|variable| format!("{}={}", variable.name, shorten(&variable.value, VALUE_CHARS_MAX)));
    let mut text = shown.collect::<Vec<_>>().join("  ");
    if locals.len() > VARIABLES_SHOWN {
        text.push_str(&format!("  and {} more", locals.len() - VARIABLES_SHOWN));
    }
    text
}

/// Cuts out the middle: the ends of paths and of summaries say most.
fn shorten(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let (head, tail) = (chars / 2, chars - chars / 2 - 1);
    let skipped = text.chars().count() - tail;
    text.chars().take(head).chain(['…']).chain(text.chars().skip(skipped)).collect()
}

/// Prints the table.
pub fn print(rows: &[Row], terminal: &Terminal) {
    let width = |column: fn(&Row) -> &str, title: &str| {
        rows.iter().map(|row| column(row).chars().count()).chain([title.len()]).max().unwrap_or(0)
    };
    let widths = [
        width(|row| &row.node, "node"),
        width(|row| &row.task, "task"),
        width(|row| &row.location, "paused at"),
        width(|row| &row.stack, "stack"),
    ];
    let [node, task, location, stack] = widths;
    println!(
        "  {}",
        terminal.bold(&format!(
            "{:node$}  {:task$}  {:location$}  {:stack$}  variables",
            "node", "task", "paused at", "stack"
        ))
    );
    for row in rows {
        println!(
            "  {:node$}  {:task$}  {:location$}  {:stack$}  {}",
            row.node, row.task, row.location, row.stack, row.variables
        );
    }
    println!();
}

/// Both nodes and both languages are among the paused tasks.
///
/// # Errors
/// When one of them is not.
pub fn expect_both(rows: &[Row]) -> Result<()> {
    let nodes: BTreeSet<&str> = rows.iter().map(|row| row.node.as_str()).collect();
    let sources: BTreeSet<&str> = rows.iter().filter_map(|row| row.location.split(':').next()).collect();
    if nodes.len() < 2 {
        bail!("all paused tasks are on {nodes:?}; both nodes should have some");
    }
    if sources.len() < 2 {
        bail!("all paused tasks are in {sources:?}; both languages should have some");
    }
    Ok(())
}
