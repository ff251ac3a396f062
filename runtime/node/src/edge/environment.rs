//! Makes environments: packages are fetched from the head and unpacked, pip and uv install into virtual environments.
//!
//! Unpacked packages belong to this node and go with it. Virtual environments outlive it, so that the next cluster has them at once:
//! they are shared by all nodes of this user on this machine, and a lock on a file says who uses one.

use std::{path::Path, sync::Arc, time::Instant};

use manta_packages::{RuntimeEnv, package_id};
use manta_proto::v1::JobConfig;

use super::{Shared, packages, venv};
use crate::core::{EnvironmentKey, Made};

/// Makes an environment; the core learns of the outcome.
pub fn start(shared: Arc<Shared>, key: EnvironmentKey, config: JobConfig) {
    tokio::spawn(async move {
        let began = Instant::now();
        let made = make(&shared, &key, &config).await;
        shared.with(|core| core.on_environment_made(&key, made, began.elapsed()));
    });
}

async fn make(shared: &Arc<Shared>, key: &EnvironmentKey, config: &JobConfig) -> Result<Made, String> {
    let wanted = RuntimeEnv::parse(&key.json)?;
    let making = make_parts(shared, key, config, &wanted);
    match wanted.setup_limit() {
        None => making.await,
        Some(limit) => tokio::time::timeout(limit, making).await.unwrap_or_else(|_| {
            Err(format!(
                "it was not ready after {} s, which is its setup_timeout_seconds; give it more with config={{'setup_timeout_seconds': N}}",
                limit.as_secs()
            ))
        }),
    }
}

async fn make_parts(
    shared: &Arc<Shared>,
    key: &EnvironmentKey,
    config: &JobConfig,
    wanted: &RuntimeEnv,
) -> Result<Made, String> {
    let mut made = Made::default();
    if let Some(id) = wanted.working_dir.as_deref().and_then(package_id) {
        let (folder, hold) = packages::unpacked(shared, id).await?;
        made.sys_path.push(text(&folder));
        made.working_dir = Some(text(&folder));
        made.hold.push(hold);
    }
    for id in wanted.py_modules.iter().filter_map(|uri| package_id(uri)) {
        let (folder, hold) = packages::unpacked(shared, id).await?;
        made.sys_path.push(text(&folder));
        made.hold.push(hold);
    }
    let own_path = made.sys_path.clone();
    for (name, value) in &wanted.env_vars {
        made.env.push((name.clone(), expanded(value)));
    }
    // What is for interpreters says nothing to a job's workers in other languages.
    let is_python = config.language == "python";
    if is_python && (wanted.pip.is_some() || wanted.uv.is_some()) {
        let venv = venv::ready(shared, key, config, wanted, &made).await?;
        made.sys_path.push(venv.site_packages);
        let path = made.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let path = path.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
        made.env.retain(|(name, _)| name != "PATH");
        made.env.push(("PATH".to_owned(), format!("{}:{path}", venv.bin)));
        made.env.push(("VIRTUAL_ENV".to_owned(), venv.folder));
        made.executable = Some(format!("{}/python", venv.bin));
        made.hold.push(venv.hold);
    }
    if let Some(command) = wanted.py_executable.as_ref().filter(|_| is_python) {
        let mut words = command.split_whitespace().map(str::to_owned);
        made.executable = Some(words.next().ok_or("'py_executable' is empty")?);
        made.arguments = words.collect();
    }
    if !own_path.is_empty() {
        // Programs that tasks start find the same modules.
        let given = made.env.iter().find(|(name, _)| name == "PYTHONPATH").map(|(_, value)| value.clone());
        made.env.retain(|(name, _)| name != "PYTHONPATH");
        let all: Vec<String> = own_path.into_iter().chain(given.filter(|given| !given.is_empty())).collect();
        made.env.push(("PYTHONPATH".to_owned(), all.join(":")));
    }
    Ok(made)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// With `${NAME}` replaced by this node's own variable, or by nothing.
fn expanded(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        text.push_str(before);
        text.push_str(&std::env::var(name).unwrap_or_default());
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_node_are_filled_in() {
        let home = std::env::var("HOME").unwrap_or_default();
        assert_eq!(expanded("a:${HOME}:b"), format!("a:{home}:b"));
        assert_eq!(expanded("${MANTA_NO_SUCH_VARIABLE}x${"), "x${");
        assert_eq!(expanded("plain $HOME"), "plain $HOME");
    }
}
