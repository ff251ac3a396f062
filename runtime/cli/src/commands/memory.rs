//! `manta memory`: which objects there are, how large they are, and what keeps them.

use std::collections::BTreeMap;

use manta_proto::{
    PROTOCOL_VERSION,
    token::Token,
    v1::{ListStateRequest, StateFilter, StateKind},
};
use serde_json::{Value, json};

use super::list::{print, print_json};
use crate::{
    args::{GroupBy, MemoryArgs, SortBy, Units},
    client,
    table::table,
};

/// Objects that are asked for in all, before they are sorted and cut.
const OBJECTS_MAX: usize = 100_000;

/// Prints objects, or their sums, and the stores of the nodes.
///
/// # Errors
/// When the head cannot be asked, or refuses.
pub async fn run(args: &MemoryArgs) -> anyhow::Result<()> {
    let mut head = client::head(&args.address, &Token::find()?).await?;
    let stores = client::rows(&mut head, StateKind::StateNodes, &[("state", "ALIVE")]).await?;
    if args.stats_only {
        if args.json {
            return print_json(&json!({ "stores": stores_json(&stores) }));
        }
        print_stores(&stores, args.units);
        return Ok(());
    }
    let (mut objects, mut notes) = objects(&mut head, args).await?;
    sort(&mut objects, args.sort_by);
    let shown = &objects[..objects.len().min(args.num_entries as usize)];
    if shown.len() < objects.len() && args.group_by.is_none() {
        notes.push(format!(
            "{} of {} objects are shown; show more with -n, add up with --group-by, or choose with --filter.",
            shown.len(),
            objects.len()
        ));
    }
    let groups = args.group_by.map(|by| grouped(&objects, by));
    if args.json {
        let groups: Option<Vec<Value>> = groups.map(|groups| groups.iter().map(Group::json).collect());
        return print_json(&json!({
            "objects": if groups.is_some() { &[][..] } else { shown }, "total": objects.len(), "groups": groups,
            "stores": stores_json(&stores), "notes": notes,
        }));
    }
    match groups {
        Some(groups) => print_groups(&groups, args.units),
        None => print_objects(shown, args.units),
    }
    print("\n");
    print_stores(&stores, args.units);
    for note in notes {
        print(&format!("\n{note}\n"));
    }
    Ok(())
}

/// All objects that pass the filters, page by page, and what is missing.
async fn objects(head: &mut client::Head, args: &MemoryArgs) -> anyhow::Result<(Vec<Value>, Vec<String>)> {
    let filter = |filter: &crate::args::Filter| StateFilter {
        key: filter.key.clone(),
        value: filter.value.clone(),
        differs: filter.differs,
    };
    let (mut objects, mut notes, mut page) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListStateRequest {
            protocol_version: PROTOCOL_VERSION,
            kind: StateKind::StateObjects.into(),
            filters: args.filters.iter().map(filter).collect(),
            page: std::mem::take(&mut page),
            ..ListStateRequest::default()
        };
        let answer = client::list_state(head, request).await?;
        for row in &answer.rows {
            objects.push(serde_json::from_str(row)?);
        }
        notes.extend(answer.notes.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>());
        if answer.next_page.is_empty() {
            break;
        }
        if objects.len() >= OBJECTS_MAX {
            let (known, all) = (objects.len(), answer.total);
            notes.push(format!("Only the {known} largest of {all} objects were looked at."));
            break;
        }
        page = answer.next_page;
    }
    Ok((objects, notes))
}

fn size(object: &Value) -> u64 {
    object["object_size"].as_u64().unwrap_or(0)
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

/// They come the largest first, which the sorting keeps among equals.
fn sort(objects: &mut [Value], by: SortBy) {
    match by {
        SortBy::ObjectSize => objects.sort_by_key(|object| std::cmp::Reverse(size(object))),
        SortBy::Pid => objects.sort_by_key(|object| object["pid"].as_u64()),
        SortBy::ReferenceType => {
            objects.sort_by(|a, b| text(a, "reference_type").cmp(text(b, "reference_type")));
        }
    }
}

/// Objects that are added up.
struct Group {
    name: String,
    objects: u64,
    bytes: u64,
    by_reference: BTreeMap<String, u64>,
}

impl Group {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "objects": self.objects, "total_size": self.bytes, "reference_types": self.by_reference,
        })
    }
}

/// Each object counts once, though several processes know it: with its owner, or else with the first that names it.
fn grouped(objects: &[Value], by: GroupBy) -> Vec<Group> {
    let mut once: BTreeMap<&str, &Value> = BTreeMap::new();
    for object in objects {
        let of_owner = object["owner_id"] == object["worker_id"];
        let known = once.entry(text(object, "object_id")).or_insert(object);
        if of_owner {
            *known = object;
        }
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for object in once.into_values() {
        let name = match by {
            GroupBy::Node => text(object, "node_name").to_owned(),
            GroupBy::Task if object["task_status"] == "" => "(put)".to_owned(),
            GroupBy::Task if object["task_name"] == "" => "(a task that ended)".to_owned(),
            GroupBy::Task => text(object, "task_name").to_owned(),
        };
        let group = groups.entry(name.clone()).or_insert(Group {
            name,
            objects: 0,
            bytes: 0,
            by_reference: BTreeMap::new(),
        });
        group.objects += 1;
        group.bytes += size(object);
        *group.by_reference.entry(text(object, "reference_type").to_owned()).or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
    groups
}

fn in_units(bytes: u64, units: Units) -> String {
    let (divisor, name) = match units {
        Units::B => return format!("{bytes} B"),
        Units::Kb => (1_000, "KB"),
        Units::Mb => (1_000_000, "MB"),
        Units::Gb => (1_000_000_000, "GB"),
    };
    format!("{}.{:03} {name}", bytes / divisor, bytes % divisor * 1_000 / divisor)
}

fn print_objects(objects: &[Value], units: Units) {
    let headings = ["OBJECT", "SIZE", "REFERENCE", "TASK", "TASK STATUS", "PROCESS", "PID", "NODE", "PLACE"];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    lines.extend(objects.iter().map(|object| {
        let size =
            object["object_size"].as_u64().map_or_else(|| "?".to_owned(), |size| in_units(size, units));
        let mut line = vec![text(object, "object_id").to_owned(), size];
        for key in ["reference_type", "task_name", "task_status", "type"] {
            line.push(text(object, key).to_owned());
        }
        line.push(object["pid"].to_string());
        line.extend(["node_name", "place"].map(|key| text(object, key).to_owned()));
        line
    }));
    print(&table(&lines));
}

fn print_groups(groups: &[Group], units: Units) {
    let mut lines = vec![["GROUP", "OBJECTS", "SIZE", "REFERENCES"].map(str::to_owned).to_vec()];
    lines.extend(groups.iter().map(|group| {
        let references: Vec<_> =
            group.by_reference.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        vec![
            group.name.clone(),
            group.objects.to_string(),
            in_units(group.bytes, units),
            references.join(", "),
        ]
    }));
    print(&table(&lines));
}

fn stores_json(nodes: &[Value]) -> Vec<Value> {
    let store = |node: &Value| {
        json!({
            "node_id": node["node_id"], "node_name": node["name"], "used_bytes": node["store_bytes"],
            "objects": node["store_objects"],
        })
    };
    nodes.iter().map(store).collect()
}

fn print_stores(nodes: &[Value], units: Units) {
    let mut lines = vec![["STORE OF", "USED", "OBJECTS"].map(str::to_owned).to_vec()];
    lines.extend(nodes.iter().map(|node| {
        let used = in_units(node["store_bytes"].as_u64().unwrap_or(0), units);
        vec![text(node, "name").to_owned(), used, node["store_objects"].to_string()]
    }));
    print(&table(&lines));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(id: &str, size: u64, owner: &str, worker: &str, task: &str) -> Value {
        json!({
            "object_id": id, "object_size": size, "owner_id": owner, "worker_id": worker, "task_name": task,
            "task_status": if task.is_empty() { "" } else { "FINISHED" }, "reference_type": "LOCAL_REFERENCE",
            "node_name": "node-1", "pid": 7,
        })
    }

    #[test]
    fn an_object_that_several_processes_know_is_added_up_once() {
        let objects = [
            object("aa", 10, "me", "other", "f"),
            object("aa", 10, "me", "me", "f"),
            object("bb", 5, "me", "me", ""),
        ];
        let groups = grouped(&objects, GroupBy::Task);
        let sums: Vec<_> = groups.iter().map(|group| (&*group.name, group.objects, group.bytes)).collect();
        assert_eq!(sums, [("f", 1, 10), ("(put)", 1, 5)]);
        assert_eq!(grouped(&objects, GroupBy::Node)[0].bytes, 15);
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_was_asked_for() {
        assert_eq!(in_units(1_234_567, Units::B), "1234567 B");
        assert_eq!(in_units(1_234_567, Units::Mb), "1.234 MB");
        assert_eq!(in_units(999, Units::Gb), "0.000 GB");
    }
}
