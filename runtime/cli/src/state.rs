//! What was started on this machine, in `~/.manta/clusters/`, so that `manta stop` finds it.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use manta_proto::token;
use serde::{Deserialize, Serialize};

use crate::process::ProcessRef;

/// A cluster, or this machine's part of one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Started {
    /// The head's address.
    pub address: String,
    /// The head, when it runs here.
    pub head: Option<ProcessRef>,
    /// The nodes that run here.
    pub nodes: Vec<ProcessRef>,
    /// Which of them are looked after by a `manta start` in the foreground.
    #[serde(default)]
    pub kept: Vec<Kept>,
}

/// What one `manta start --foreground` looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The one that does.
    pub keeper: ProcessRef,
    /// The head or nodes, or both.
    pub processes: Vec<ProcessRef>,
}

impl Started {
    /// A cluster of which nothing else runs here yet.
    #[must_use]
    pub fn at(address: String, head: Option<ProcessRef>) -> Self {
        Self { address, head, nodes: Vec::new(), kept: Vec::new() }
    }

    /// This process looks after these.
    pub fn keep(&mut self, processes: &[ProcessRef]) {
        let keeper = ProcessRef::of(std::process::id());
        self.kept = keeper.map(|keeper| Kept { keeper, processes: processes.to_vec() }).into_iter().collect();
    }

    /// All its processes, nodes first.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessRef> {
        self.nodes.iter().copied().chain(self.head).collect()
    }

    /// What still runs although the `manta start` that looked after it was killed.
    #[must_use]
    pub fn orphans(&self) -> Vec<ProcessRef> {
        let left = self.kept.iter().filter(|kept| !kept.keeper.is_alive());
        left.flat_map(|kept| kept.processes.iter().copied()).filter(|process| process.is_alive()).collect()
    }

    /// Whether anything of it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.processes().into_iter().any(ProcessRef::is_alive)
    }

    /// Writes it down, next to what was started for the same address before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(mut self) -> anyhow::Result<()> {
        let path = path_of(&self.address);
        if let Some(before) = load_file(&path)? {
            let mut alive = before.nodes;
            alive.retain(|node| node.is_alive() && !self.nodes.contains(node));
            self.nodes.append(&mut alive);
            self.head = self.head.or(before.head.filter(|head| head.is_alive()));
            let is_taken =
                |process: &ProcessRef| self.kept.iter().any(|kept| kept.processes.contains(process));
            let mut others = before.kept;
            for kept in &mut others {
                kept.processes.retain(|process| process.is_alive() && !is_taken(process));
            }
            let is_own = |kept: &Kept| self.kept.iter().any(|own| own.keeper == kept.keeper);
            others.retain(|kept| !kept.processes.is_empty() && !is_own(kept));
            self.kept.append(&mut others);
        }
        let folder = folder();
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let text = serde_json::to_string_pretty(&self)?;
        let new = path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(&self) -> anyhow::Result<()> {
        let path = path_of(&self.address);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// What was started for one address, or for any.
///
/// # Errors
/// When a file cannot be read.
pub fn load(address: Option<&str>) -> anyhow::Result<Vec<Started>> {
    if let Some(address) = address {
        return Ok(load_file(&path_of(address))?.into_iter().collect());
    }
    let entries = match fs::read_dir(folder()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", folder().display())),
    };
    let mut started = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            started.extend(load_file(&path)?);
        }
    }
    started.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(started)
}

fn load_file(path: &Path) -> anyhow::Result<Option<Started>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let started = serde_json::from_str(&text);
            Ok(Some(started.with_context(|| format!("{} is damaged; remove it", path.display()))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

fn folder() -> PathBuf {
    token::home().join("clusters")
}

fn path_of(address: &str) -> PathBuf {
    let own = address.strip_prefix("127.0.0.1:").or_else(|| address.strip_prefix("localhost:"));
    folder().join(format!("{}.json", own.unwrap_or(address).replace(['/', ':'], "-")))
}

/// Where the head of this address keeps its memory; nowhere when its port is not known beforehand.
#[must_use]
pub fn of_head(listen: SocketAddr) -> Option<PathBuf> {
    (listen.port() != 0).then(|| token::home().join("heads").join(listen.port().to_string()))
}
