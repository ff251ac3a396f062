//! The last line of defence against orphans: a small process beside a node that outlives it by a moment. When the node is gone, for
//! whatever cause, it kills the process groups of the node's workers and removes the node's folders.
//!
//! It must never do anything while the node lives.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// The hidden command of the `manta` binary that runs [`watch`].
pub const COMMAND: &str = "watch";

/// A node's end of the pipe to its watcher.
pub struct Watcher {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Watcher {
    /// Starts the watcher of this process.
    ///
    /// # Errors
    /// When `manta` cannot be started.
    pub fn start(manta: &Path) -> io::Result<Self> {
        let mut child = Command::new(manta)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Has this process group killed when the node is gone.
    ///
    /// # Errors
    /// When the watcher is gone itself.
    pub fn add_group(&mut self, group: u32) -> io::Result<()> {
        self.tell(&format!("add {group}"))
    }

    /// The group ended.
    ///
    /// # Errors
    /// When the watcher is gone itself.
    pub fn remove_group(&mut self, group: u32) -> io::Result<()> {
        self.tell(&format!("remove {group}"))
    }

    /// Has this folder removed when the node is gone.
    ///
    /// # Errors
    /// When the watcher is gone itself.
    pub fn add_folder(&mut self, folder: &Path) -> io::Result<()> {
        self.tell(&format!("folder {}", folder.display()))
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        match &mut self.pipe {
            Some(pipe) => pipe.write_all(format!("{line}\n").as_bytes()),
            None => Ok(()),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.pipe = None;
        // It ends by the end of its pipe, after a last look around.
        let _ended = self.child.wait();
    }
}

/// What the watcher's process does: reads until the pipe's end, then cleans up.
pub fn watch(lines: impl BufRead) {
    let mut groups: BTreeSet<i32> = BTreeSet::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for line in lines.lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("add", group)) => groups.extend(group.parse::<i32>()),
            Some(("remove", group)) => {
                if let Ok(group) = group.parse() {
                    groups.remove(&group);
                }
            }
            Some(("folder", folder)) => folders.push(folder.into()),
            _ => {}
        }
    }
    for group in groups.into_iter().filter(|group| *group > 1) {
        // A group that is gone already is what is wanted.
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    for folder in folders {
        let _gone = std::fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_folders_go_with_the_pipe() {
        let folder = std::env::temp_dir().join(format!("manta-watcher-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let spawn = || Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let (mut kept, mut killed) = (spawn(), spawn());
        let lines = format!(
            "folder {}\nadd {}\nadd {}\nremove {}\n",
            folder.display(),
            kept.id(),
            killed.id(),
            kept.id()
        );
        watch(lines.as_bytes());
        let status = killed.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(kept.try_wait().unwrap().is_none(), "a removed group was killed");
        kept.kill().unwrap();
        kept.wait().unwrap();
        assert!(!folder.exists());
    }
}
