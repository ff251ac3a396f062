//! Looks at how much memory the machine and the workers use, and tells the core, which decides whether somebody has to go.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use super::Shared;
use crate::{core::Usage, node::MemoryWatch};

/// Looks until the node ends.
pub fn start(shared: &Arc<Shared>, watch: MemoryWatch) {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(watch.refresh.max(Duration::from_millis(10)));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0_u64;
        loop {
            interval.tick().await;
            let Some(shared) = shared.upgrade() else { return };
            let Some((used, total)) = usage() else { continue };
            // Workers one by one cost more: four times a second is too often while nothing is wrong.
            #[expect(clippy::cast_precision_loss, reason = "a share needs no exact bytes")]
            let tight = watch.threshold < 1.0 && used as f64 > total as f64 * watch.threshold;
            looks += 1;
            if tight || looks % 8 == 1 {
                let workers = shared.read(crate::core::Core::worker_pids);
                let groups = group_rss();
                let workers =
                    workers.into_iter().map(|(id, pid)| (id, groups.get(&pid).copied().unwrap_or(0)));
                let usage = Usage { used, total, workers: workers.collect() };
                shared.with(|core| core.on_memory(usage, watch.threshold));
            }
        }
    });
}

/// Bytes in use and bytes there are: of the control group when it has a limit, else of the machine.
fn usage() -> Option<(u64, u64)> {
    let machine = machine_usage(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = group_usage(Path::new("/sys/fs/cgroup"));
    Some(group.filter(|(_, total)| *total < machine.1).unwrap_or(machine))
}

fn machine_usage(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let total = field("MemTotal")?;
    Some((total.saturating_sub(field("MemAvailable")?), total))
}

/// Of a control group (version 2), without what is only a cache of files.
fn group_usage(folder: &Path) -> Option<(u64, u64)> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let total = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()?;
    Some((used.saturating_sub(cache), total))
}

/// Resident bytes by process group: a worker's with all that it started.
fn group_rss() -> HashMap<u32, u64> {
    let mut groups = HashMap::new();
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
    let Ok(entries) = fs::read_dir("/proc") else { return groups };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The second field is the name in parentheses, which may hold anything.
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let (group, rss) = (fields.get(2).and_then(|f| f.parse::<u32>().ok()), fields.get(21));
        if let (Some(group), Some(rss)) = (group, rss.and_then(|rss| rss.parse::<u64>().ok())) {
            *groups.entry(group).or_default() += rss * page;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_what_is_not_available() {
        let text = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n";
        assert_eq!(machine_usage(text), Some((600 * 1024, 1000 * 1024)));
        assert!(usage().is_some_and(|(used, total)| used > 0 && used < total));
    }

    #[test]
    fn a_group_with_a_limit_counts_without_its_cache() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("memory.max", "1000\n"),
            ("memory.current", "700\n"),
            ("memory.stat", "anon 5\ninactive_file 200\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(group_usage(folder.path()), Some((500, 1000)));
        fs::write(folder.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(group_usage(folder.path()), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let group = u32::try_from(nix::unistd::getpgrp().as_raw()).unwrap();
        assert!(group_rss()[&group] > 1024 * 1024);
    }
}
