//! Paths between the client's machine and the cluster's, both ways: `pathMappings`, and what was found out by files' content.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::limits::LEARNED_FOLDERS_MAX;

/// One folder that has another name in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathMapping {
    /// The folder where the client runs.
    pub local_root: String,
    /// The same folder where the tasks run.
    pub remote_root: String,
}

/// All mappings of a session, first match first: the user's own, then those that were found out, newest first.
#[derive(Debug, Clone, Default)]
pub struct PathMap {
    configured: Vec<PathMapping>,
    learned: VecDeque<PathMapping>,
}

impl PathMap {
    /// From the configuration.
    #[must_use]
    pub fn new(mappings: Vec<PathMapping>) -> Self {
        Self { configured: mappings, learned: VecDeque::new() }
    }

    /// Notes that the client's file `local` is the target's file `remote`, and with it the folders above them as far as the names
    /// are the same. Whether that was news.
    pub fn learn(&mut self, local: &str, remote: &str) -> bool {
        let mapping = roots(local, remote);
        if self.all().any(|known| *known == mapping) {
            return false;
        }
        self.learned.push_front(mapping);
        self.learned.truncate(LEARNED_FOLDERS_MAX);
        true
    }

    fn all(&self) -> impl Iterator<Item = &PathMapping> {
        self.configured.iter().chain(&self.learned)
    }

    /// The names under which a target may know the client's `path`, best first.
    #[must_use]
    pub fn to_remote(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.all().filter_map(|m| swap_root(path, &m.local_root, &m.remote_root)).collect();
        names.push(path.to_owned());
        names.dedup();
        names
    }

    /// The client's names for a target's `path`, best first.
    #[must_use]
    pub fn to_local(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.all().filter_map(|m| swap_root(path, &m.remote_root, &m.local_root)).collect();
        names.push(path.to_owned());
        names.dedup();
        names
    }
}

/// The folders that differ above two names of one file. The file itself, where one lies among installed packages and the other does
/// not: that one file was copied does not make the packages beside it the client's.
fn roots(local: &str, remote: &str) -> PathMapping {
    let is_installed = |path: &str| path.split(is_separator).any(|part| part.ends_with("-packages"));
    let (mut local_root, mut remote_root) = (local, remote);
    if is_installed(local) == is_installed(remote) {
        while let (Some((local_above, local_name)), Some((remote_above, remote_name))) =
            (local_root.rsplit_once(is_separator), remote_root.rsplit_once(is_separator))
            && local_name == remote_name
        {
            (local_root, remote_root) = (local_above, remote_above);
        }
    }
    // A root of nothing would mean every path.
    let root = |root: &str| if root.is_empty() { "/".to_owned() } else { root.to_owned() };
    PathMapping { local_root: root(local_root), remote_root: root(remote_root) }
}

/// `path` with its root `from` replaced by `to`, with `to`'s kind of separator; `None` when it does not lie below `from`.
fn swap_root(path: &str, from: &str, to: &str) -> Option<String> {
    let windows = is_windows(from);
    let from = trim_separators(from);
    let (head, rest) = (path.get(..from.len())?, path.get(from.len()..)?);
    let same = head.chars().zip(from.chars()).all(|(a, b)| {
        a == b || windows && (a.eq_ignore_ascii_case(&b) || is_separator(a) && is_separator(b))
    });
    let below = rest.is_empty() || rest.starts_with(is_separator);
    if !same || !below {
        return None;
    }
    let separator = if is_windows(to) { '\\' } else { '/' };
    let rest = rest.trim_start_matches(is_separator);
    let to = trim_separators(to);
    if rest.is_empty() {
        return Some(if to.is_empty() { separator.to_string() } else { to.to_owned() });
    }
    let rest: String = rest.chars().map(|c| if windows && is_separator(c) { separator } else { c }).collect();
    let rest = if is_windows(to) { rest.replace('/', "\\") } else { rest };
    Some(format!("{to}{separator}{rest}"))
}

fn trim_separators(root: &str) -> &str {
    root.trim_end_matches(is_separator)
}

fn is_separator(c: char) -> bool {
    c == '/' || c == '\\'
}

/// `C:\...` or `\\server\...`.
fn is_windows(path: &str) -> bool {
    let mut chars = path.chars();
    let (first, second) = (chars.next(), chars.next());
    first.is_some_and(|c| c.is_ascii_alphabetic()) && second == Some(':') || path.starts_with("\\\\")
}

/// The last part of a path of either kind.
#[must_use]
pub fn file_name(path: &str) -> &str {
    path.rsplit(is_separator).find(|part| !part.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(local: &str, remote: &str) -> PathMap {
        PathMap::new(vec![PathMapping { local_root: local.to_owned(), remote_root: remote.to_owned() }])
    }

    #[test]
    fn roots_are_swapped_both_ways_at_folder_borders_only() {
        let paths = map("/home/me/job/", "/srv/job");
        assert_eq!(paths.to_remote("/home/me/job/a/b.py"), ["/srv/job/a/b.py", "/home/me/job/a/b.py"]);
        assert_eq!(paths.to_remote("/home/me/jobs/b.py"), ["/home/me/jobs/b.py"]);
        assert_eq!(paths.to_local("/srv/job/a/b.py"), ["/home/me/job/a/b.py", "/srv/job/a/b.py"]);
        assert_eq!(map("/", "/").to_remote("/a/b.py"), ["/a/b.py"]);
    }

    #[test]
    fn what_one_file_teaches_holds_of_its_folders() {
        let mut paths = PathMap::default();
        assert!(paths.learn("/home/me/job/a/b.py", "/tmp/shipped/1/a/b.py"));
        assert!(!paths.learn("/home/me/job/a/c.py", "/tmp/shipped/1/a/c.py"), "the same folder");
        assert_eq!(paths.to_remote("/home/me/job/d.py"), ["/tmp/shipped/1/d.py", "/home/me/job/d.py"]);
        assert_eq!(paths.to_local("/tmp/shipped/1/d.py")[0], "/home/me/job/d.py");
        assert!(paths.learn("/home/me/job/a/b.py", "/tmp/shipped/2/a/b.py"), "another copy of it");
        assert_eq!(paths.to_local("/tmp/shipped/1/d.py")[0], "/home/me/job/d.py");
        assert_eq!(paths.to_local("/tmp/shipped/2/d.py")[0], "/home/me/job/d.py");
    }

    #[test]
    fn a_copy_among_installed_packages_teaches_nothing_of_the_packages_beside_it() {
        let mut paths = PathMap::default();
        paths.learn("/job/vendor/six.py", "/venv/site-packages/six.py");
        assert_eq!(paths.to_local("/venv/site-packages/six.py")[0], "/job/vendor/six.py");
        assert_eq!(paths.to_local("/venv/site-packages/requests.py"), ["/venv/site-packages/requests.py"]);
    }

    #[test]
    fn a_file_right_below_the_root_does_not_make_every_path_the_clients() {
        let mut paths = PathMap::default();
        paths.learn("/job/a.py", "/a.py");
        assert_eq!(paths.to_local("/a.py")[0], "/job/a.py");
        assert_eq!(paths.to_remote("/job/b.py"), ["/b.py", "/job/b.py"]);
        assert_eq!(paths.to_remote("/other/b.py"), ["/other/b.py"]);
    }

    #[test]
    fn a_windows_client_of_a_linux_cluster() {
        let paths = map("C:\\Me\\job", "/srv/job");
        assert_eq!(paths.to_remote("c:\\me\\job\\a\\b.py")[0], "/srv/job/a/b.py");
        assert_eq!(paths.to_local("/srv/job/a/b.py")[0], "C:\\Me\\job\\a\\b.py");
        assert_eq!(file_name("c:\\me\\b.py"), "b.py");
    }
}
