//! Virtual environments for `pip` and `uv`: known by what is installed and for which interpreter, built once, used by all nodes of
//! this user on this machine.
//!
//! Beside each is a lock file. Who builds it holds it alone; who uses it holds it together with others; who wants to remove it must
//! get it alone. A process that is killed lets go of its locks, and a half-built environment is built again.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use manta_packages::{Hasher, RuntimeEnv};
use manta_proto::{token, v1::JobConfig};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::{
    Shared,
    logs::{LastLines, Log, read_lines},
    process,
};
use crate::{
    core::{EnvironmentKey, Made},
    host::Host,
    limits::{INSTALLER_LINES, VENVS_BYTES_MAX},
};

/// How often somebody who waits for another's building looks.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// Written last: the environment is whole.
const COMPLETE: &str = "manta.json";
/// Asks an interpreter which one it is, and where it looks for installed packages.
const QUESTION: &str = "import json, sys; print(json.dumps({'version': sys.version, 'site': \
    [p for p in sys.path if p.endswith(('site-packages', 'dist-packages'))]}))";

/// A virtual environment that is ready.
pub struct Venv {
    pub folder: String,
    pub bin: String,
    pub site_packages: String,
    pub hold: Arc<dyn Send + Sync>,
}

#[derive(Serialize, Deserialize)]
struct Complete {
    /// The interpreter that it was made with.
    executable: String,
    site_packages: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct Interpreter {
    version: String,
    site: Vec<String>,
}

/// The environment, built first when it is not there.
pub async fn ready(
    shared: &Arc<Shared>,
    key: &EnvironmentKey,
    config: &JobConfig,
    wanted: &RuntimeEnv,
    made: &Made,
) -> Result<Venv, String> {
    let all = token::home().join("environments");
    let cannot =
        |error: io::Error| format!("{} cannot be used for virtual environments: {error}", all.display());
    fs::create_dir_all(&all).map_err(cannot)?;
    let executable = base_executable(&all, &config.executable);
    let interpreter = ask(&executable).await?;
    let mut inherited = interpreter.site;
    inherited.extend(config.sys_path.iter().filter(|path| is_site(path)).cloned());
    inherited.retain(|path| !Path::new(path).starts_with(&all));
    inherited.dedup();
    let mut hasher = Hasher::default();
    let what = serde_json::json!([wanted.pip, wanted.uv, executable, interpreter.version, inherited]);
    hasher.update(what.to_string().as_bytes());
    let folder = all.join(&hasher.finish()[..32]);
    let lock = lock(&folder.with_extension("lock")).await.map_err(cannot)?;
    let complete = match read_complete(&folder) {
        Some(complete) => complete,
        None => {
            make_room(&all, VENVS_BYTES_MAX);
            let builder = Builder { shared, key, wanted, made, folder: &folder, executable: &executable };
            builder.build(&inherited).await?
        }
    };
    touch(&folder.join(COMPLETE));
    lock.relock(FlockArg::LockSharedNonblock).map_err(|error| cannot(error.into()))?;
    Ok(Venv {
        bin: folder.join("bin").display().to_string(),
        site_packages: complete.site_packages,
        folder: folder.display().to_string(),
        hold: Arc::new(std::sync::Mutex::new(lock)),
    })
}

fn is_site(path: &str) -> bool {
    path.ends_with("site-packages") || path.ends_with("dist-packages")
}

/// The interpreter itself, or the one that one of our environments was made with: an environment of an environment would be built again.
fn base_executable(all: &Path, executable: &str) -> String {
    let own = Path::new(executable).parent().and_then(Path::parent).filter(|folder| folder.starts_with(all));
    own.and_then(read_complete).map_or_else(|| executable.to_owned(), |complete| complete.executable)
}

fn read_complete(folder: &Path) -> Option<Complete> {
    serde_json::from_slice(&fs::read(folder.join(COMPLETE)).ok()?).ok()
}

fn touch(path: &Path) {
    // Its time only says what to remove first.
    let _touched =
        File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

async fn lock(path: &Path) -> io::Result<Flock<File>> {
    let mut file = File::options().create(true).append(true).open(path)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, nix::errno::Errno::EWOULDBLOCK)) => {
                // Others use it: it is whole, and using it together is enough.
                file = match Flock::lock(again, FlockArg::LockSharedNonblock) {
                    Ok(lock) => return Ok(lock),
                    Err((again, _)) => again,
                };
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err((_, error)) => return Err(error.into()),
        }
    }
}

async fn ask(executable: &str) -> Result<Interpreter, String> {
    let cannot =
        |cause: String| format!("the interpreter {executable} cannot be asked for its version: {cause}");
    let output = Command::new(executable).args(["-c", QUESTION]).kill_on_drop(true).output().await;
    let output = output.map_err(|error| cannot(error.to_string()))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| cannot(format!("{error}; {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Removes environments that nobody uses, the oldest first, until the rest has room.
fn make_room(all: &Path, bytes_max: u64) {
    let Ok(entries) = fs::read_dir(all) else { return };
    let mut known: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for folder in entries.flatten().map(|entry| entry.path()) {
        if let (Some(complete), Ok(data)) = (read_complete(&folder), fs::metadata(folder.join(COMPLETE))) {
            known.push((data.modified().unwrap_or(SystemTime::UNIX_EPOCH), complete.bytes, folder));
        }
    }
    known.sort();
    let mut total: u64 = known.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, folder) in known {
        if total <= bytes_max {
            return;
        }
        let Ok(file) = File::open(folder.with_extension("lock")) else { continue };
        if let Ok(_alone) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            && fs::remove_dir_all(&folder).is_ok()
        {
            total -= bytes;
        }
    }
}

/// Builds one environment.
struct Builder<'a> {
    shared: &'a Arc<Shared>,
    key: &'a EnvironmentKey,
    wanted: &'a RuntimeEnv,
    made: &'a Made,
    folder: &'a Path,
    executable: &'a str,
}

impl Builder<'_> {
    async fn build(&self, inherited: &[String]) -> Result<Complete, String> {
        let failed = |error: io::Error| {
            format!("a virtual environment cannot be made in {}: {error}", self.folder.display())
        };
        if self.folder.exists() {
            fs::remove_dir_all(self.folder).map_err(failed)?;
        }
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let log = self.shared.logs.open(&format!("runtime_env-{}.log", &name[..name.len().min(8)]));
        let outcome = self.build_logged(inherited, &log).await;
        self.shared.logs.close(&log);
        if outcome.is_err() {
            // What is left of it is removed before the next try, too.
            let _removed = fs::remove_dir_all(self.folder);
        }
        outcome
    }

    async fn build_logged(&self, inherited: &[String], log: &Arc<Log>) -> Result<Complete, String> {
        let (packages, tool) = match (&self.wanted.pip, &self.wanted.uv) {
            (Some(pip), _) => (&pip.packages, "pip"),
            (None, Some(uv)) => (&uv.packages, "uv"),
            (None, None) => return Err("there is nothing to install".to_owned()),
        };
        self.tell(&format!(
            "{tool} installs {} (all its words: manta logs {})",
            packages.join(", "),
            log.name
        ));
        let target = self.folder.display().to_string();
        let failed = |error: io::Error| format!("a virtual environment cannot be made in {target}: {error}");
        self.run(self.executable, &["-m", "venv", "--system-site-packages", "--without-pip", &target], log)
            .await?;
        let python = self.folder.join("bin/python").display().to_string();
        let site = ask(&python).await?.site;
        let site_packages = site
            .into_iter()
            .find(|path| Path::new(path).starts_with(self.folder))
            .ok_or_else(|| format!("the virtual environment {target} has no folder for packages"))?;
        // What the driver's own interpreter has is there too, after what is installed here.
        fs::write(Path::new(&site_packages).join("manta_inherited.pth"), inherited.join("\n") + "\n")
            .map_err(failed)?;
        let requirements = self.folder.join("requirements.txt").display().to_string();
        fs::write(&requirements, self.requirements(packages)).map_err(failed)?;
        match (&self.wanted.pip, &self.wanted.uv) {
            (Some(pip), _) => {
                let version = pip.pip_version.as_deref();
                let prefix = self.pip(&python, version, log).await?;
                let mut args: Vec<&str> = prefix[1..].iter().map(String::as_str).collect();
                args.extend(["install", "--disable-pip-version-check", "--no-input", "-r", &requirements]);
                args.extend(pip.pip_install_options.iter().map(String::as_str));
                self.run(&prefix[0], &args, log).await?;
                if pip.pip_check {
                    let args: Vec<&str> = prefix[1..].iter().map(String::as_str).chain(["check"]).collect();
                    self.run(&prefix[0], &args, log).await?;
                }
            }
            (None, Some(uv)) => {
                let prefix = self.uv(&python, uv.uv_version.as_deref(), log).await?;
                let mut args: Vec<&str> = prefix[1..].iter().map(String::as_str).collect();
                args.extend(["pip", "install", "--python", &python, "-r", &requirements]);
                args.extend(uv.uv_pip_install_options.iter().map(String::as_str));
                self.run(&prefix[0], &args, log).await?;
                if uv.uv_check {
                    let args =
                        prefix[1..].iter().map(String::as_str).chain(["pip", "check", "--python", &python]);
                    let args: Vec<&str> = args.collect();
                    self.run(&prefix[0], &args, log).await?;
                }
            }
            (None, None) => {}
        }
        self.tell(&format!("{tool} is done"));
        let folder = self.folder.to_owned();
        let bytes = tokio::task::spawn_blocking(move || size(&folder)).await.unwrap_or(0);
        let complete = Complete { executable: self.executable.to_owned(), site_packages, bytes };
        let text = serde_json::to_vec(&complete).map_err(|error| error.to_string())?;
        fs::write(self.folder.join(COMPLETE), text).map_err(failed)?;
        Ok(complete)
    }

    fn tell(&self, text: &str) {
        self.shared.with(|core| core.on_environment_progress(self.key, text));
    }

    fn requirements(&self, packages: &[String]) -> String {
        let working_dir = self.made.working_dir.clone().unwrap_or_default();
        // Ray's name for it, in requirements that lie in the working directory.
        let line = |line: &String| line.replace("${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}", &working_dir) + "\n";
        packages.iter().map(line).collect()
    }

    /// How pip is called for this environment: the interpreter's own, or one that is installed into the environment.
    async fn pip(&self, python: &str, version: Option<&str>, log: &Arc<Log>) -> Result<Vec<String>, String> {
        let own =
            Command::new(self.executable).args(["-m", "pip", "--version"]).kill_on_drop(true).output().await;
        if version.is_none() && own.is_ok_and(|output| output.status.success()) {
            return Ok([self.executable, "-m", "pip", "--python", python].map(str::to_owned).into());
        }
        self.run(python, &["-m", "ensurepip"], log).await?;
        if let Some(version) = version {
            self.run(python, &["-m", "pip", "install", &format!("pip{version}")], log).await?;
        }
        Ok([python, "-m", "pip"].map(str::to_owned).into())
    }

    /// How uv is called: the machine's own, or one that pip installs into the environment.
    async fn uv(&self, python: &str, version: Option<&str>, log: &Arc<Log>) -> Result<Vec<String>, String> {
        let works = |program: String, args: Vec<&'static str>| async move {
            let output = Command::new(program).args(args).kill_on_drop(true).output().await;
            output.is_ok_and(|output| output.status.success())
        };
        if version.is_none() && works("uv".to_owned(), vec!["--version"]).await {
            return Ok(vec!["uv".to_owned()]);
        }
        if version.is_none() && works(self.executable.to_owned(), vec!["-m", "uv", "--version"]).await {
            return Ok([self.executable, "-m", "uv"].map(str::to_owned).into());
        }
        let pip = self.pip(python, None, log).await?;
        let mut args: Vec<&str> = pip[1..].iter().map(String::as_str).collect();
        let uv = format!("uv{}", version.unwrap_or_default());
        args.extend(["install", "--disable-pip-version-check", "--no-input", &uv]);
        self.run(&pip[0], &args, log).await?;
        Ok([python, "-m", "uv"].map(str::to_owned).into())
    }

    /// Runs one step; its failure has its own last words.
    async fn run(&self, program: &str, args: &[&str], log: &Arc<Log>) -> Result<(), String> {
        let shown = format!("{program} {}", args.join(" "));
        log.write(format!("$ {shown}\n").as_bytes());
        let cannot = |error: io::Error| format!("'{shown}' cannot be run: {error}");
        let (reader, writer) = io::pipe().map_err(cannot)?;
        let mut command = Command::new(program);
        command.args(args).envs(self.made.env.iter().cloned()).env_remove("PYTHONPATH").process_group(0);
        command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(cannot)?).stderr(writer);
        if let Some(folder) = &self.made.working_dir {
            command.current_dir(folder);
        }
        let mut installer = Installer::new(&self.shared.host, command.spawn().map_err(cannot)?);
        // It holds the other end of the pipe.
        drop(command);
        let last = LastLines::with_room(INSTALLER_LINES);
        let source = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).map_err(cannot)?;
        let read = read_lines(source, |text| {
            log.write(text.as_bytes());
            last.extend(&text);
        });
        let (status, ()) = tokio::join!(installer.wait(), read);
        let status = status.map_err(cannot)?;
        if status.success() {
            return Ok(());
        }
        Err(format!("'{shown}' failed ({status}):\n{}", last.take().join("\n")))
    }
}

/// A step's process, with all that it starts: pip runs itself once more, and builds packages in further processes. None of them
/// outlives the step, nor the node.
struct Installer {
    host: Arc<Host>,
    child: Option<Child>,
    group: u32,
}

impl Installer {
    /// Takes the leader of a process group.
    fn new(host: &Arc<Host>, child: Child) -> Self {
        // A child that nobody has waited for yet has an id.
        let group = child.id().unwrap_or_default();
        host.watch_group(group);
        Self { host: Arc::clone(host), child: Some(child), group }
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await,
            None => Err(io::Error::other("the step has ended")),
        }
    }
}

impl Drop for Installer {
    fn drop(&mut self) {
        let (Some(mut child), group) = (self.child.take(), self.group) else { return };
        process::signal(group, Signal::SIGKILL);
        self.host.forget_group(group);
        // Without a runtime this process ends, and needs to reap nobody.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _status = child.wait().await;
                process::reap_group(group).await;
            });
        }
    }
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        _ => entry.metadata().map_or(0, |data| data.len()),
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unused_environment_makes_room_and_one_in_use_does_not() {
        let all = tempfile::tempdir().unwrap();
        let mut holds = Vec::new();
        for (name, used) in [("a", true), ("b", false), ("c", false)] {
            let folder = all.path().join(name);
            fs::create_dir(&folder).unwrap();
            let complete = Complete { executable: "python".into(), site_packages: String::new(), bytes: 40 };
            fs::write(folder.join(COMPLETE), serde_json::to_vec(&complete).unwrap()).unwrap();
            let lock = lock(&folder.with_extension("lock")).await.unwrap();
            holds.extend(used.then_some(lock));
        }
        make_room(all.path(), 50);
        assert!(all.path().join("a").exists());
        assert!(!all.path().join("b").exists() && !all.path().join("c").exists());
        assert_eq!(
            base_executable(all.path(), &all.path().join("a/bin/python").display().to_string()),
            "python"
        );
    }
}
