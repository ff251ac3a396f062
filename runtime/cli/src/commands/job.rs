//! `manta job`: programs as jobs of the cluster.

use std::{io::Write, path::Path, time::Duration};

use anyhow::{Context, bail};
use manta_node::resources::Resources;
use manta_packages::{Package, PackageSource, RuntimeEnv, URI_SCHEME, pack};
use manta_proto::{
    PROTOCOL_VERSION,
    limits::CHUNK_BYTES,
    token::Token,
    v1::{
        DeleteJobRequest, MissingPackagesRequest, PackageChunk, ReadLog, StateKind, StopJobRequest,
        SubmitJobRequest, SubmittedJob, node_question::Question,
    },
};
use serde_json::{Map, Value, json};

use super::list::{print, print_json, print_submitted};
use crate::{
    args::{JobArgs, JobCommand, JobListArgs, JobLogsArgs, JobStopArgs, JobSubmitArgs},
    client::{self, Head},
};

/// How often somebody who waits for a job's end asks.
const POLL: Duration = Duration::from_millis(100);

/// Does what is asked.
///
/// # Errors
/// With the head's sentence; and when a job that was waited for did not succeed.
pub async fn run(command: JobCommand) -> anyhow::Result<()> {
    match command {
        JobCommand::Submit(args) => submit(args).await,
        JobCommand::Status(args) => status(&args).await,
        JobCommand::Logs(args) => logs(&args).await,
        JobCommand::List(args) => list(&args).await,
        JobCommand::Stop(args) => stop(&args).await,
        JobCommand::Delete(args) => delete(&args).await,
    }
}

async fn open(address: &str) -> anyhow::Result<Head> {
    Ok(client::head(address, &Token::find()?).await?)
}

async fn submit(args: JobSubmitArgs) -> anyhow::Result<()> {
    let (runtime_env, packages) = environment(&args)?;
    let amounts = [
        ("CPU", args.entrypoint_num_cpus),
        ("GPU", args.entrypoint_num_gpus),
        ("memory", args.entrypoint_memory),
    ];
    let amounts = amounts.into_iter().filter_map(|(name, amount)| Some((name, amount?)));
    let named = args.entrypoint_resources.iter().flatten().map(|(name, amount)| (&**name, *amount));
    let resources = Resources::from_amounts(amounts.chain(named)).map_err(anyhow::Error::msg)?;
    let metadata = match &args.metadata_json {
        None => Default::default(),
        Some(text) => {
            serde_json::from_str(text).context("the metadata is a JSON object of texts, which this is not")?
        }
    };
    let mut head = open(&args.at.address).await?;
    put_packages(&mut head, &packages).await?;
    let job = SubmittedJob {
        submission_id: args.submission_id.clone().unwrap_or_default(),
        entrypoint: entrypoint(&args.entrypoint),
        runtime_env: runtime_env.to_json(),
        metadata,
        resources: Some(resources.to_wire()),
        ..SubmittedJob::default()
    };
    let request = SubmitJobRequest { protocol_version: PROTOCOL_VERSION, job: Some(job) };
    let id = head.submit_job(request).await.map_err(client::sentence)?.into_inner().submission_id;
    if args.json {
        return print_json(&json!({ "submission_id": id }));
    }
    print(&format!("The job '{id}' was submitted.\n"));
    if args.no_wait {
        print(&format!(
            "See how it is with 'manta job status {id}', and what it prints with 'manta job logs -f {id}'.\n"
        ));
        return Ok(());
    }
    let job = wait_while(&mut head, &id, |status| status == "PENDING").await?;
    if job["status"] == "RUNNING" || job["started_unix_ms"].as_u64().is_some_and(|started| started > 0) {
        copy_log(&mut head, &job, -1, true).await?;
    }
    let job = wait_while(&mut head, &id, |status| status == "PENDING" || status == "RUNNING").await?;
    end_as(&id, &job)
}

/// The exit of a command that has waited for a job.
fn end_as(id: &str, job: &Value) -> anyhow::Result<()> {
    match job["status"].as_str() {
        Some("SUCCEEDED") => {
            print(&format!("The job '{id}' succeeded.\n"));
            Ok(())
        }
        status => bail!(
            "the job '{id}' is {}: {}",
            status.unwrap_or_default(),
            job["message"].as_str().unwrap_or_default()
        ),
    }
}

/// The words of a command line as a shell reads them; a single word is a whole command already.
fn entrypoint(words: &[String]) -> String {
    let [only] = words else {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        let quoted = words.iter().map(|word| {
            let as_is = !word.is_empty() && word.chars().all(plain);
            if as_is { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
        });
        return quoted.collect::<Vec<_>>().join(" ");
    };
    only.clone()
}

/// The environment as it was given, with its local folders as packages.
fn environment(args: &JobSubmitArgs) -> anyhow::Result<(RuntimeEnv, Vec<Package>)> {
    let text = match (&args.runtime_env_json, &args.runtime_env) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?
        }
        (None, None) => "{}".to_owned(),
    };
    let mut given: Map<String, Value> =
        serde_json::from_str(&text).context("a runtime_env is a JSON object, which this is not")?;
    if let Some(folder) = &args.working_dir {
        given.insert("working_dir".to_owned(), json!(folder));
    }
    let mut packages = Vec::new();
    let excludes: Vec<String> = match given.remove("excludes") {
        None => Vec::new(),
        Some(excludes) => serde_json::from_value(excludes).context("'excludes' is a list of patterns")?,
    };
    let mut packed = |path: &str, keep_name: bool| -> anyhow::Result<Value> {
        if path.starts_with(URI_SCHEME) {
            return Ok(json!(path));
        }
        if path.contains("://") {
            bail!("'{path}': packages from elsewhere are not supported; give a local folder or .zip file");
        }
        let path = Path::new(path).to_owned();
        let package = pack(&PackageSource { path, keep_name, excludes: excludes.clone(), gitignore: true })?;
        let uri = format!("{URI_SCHEME}{}", package.id);
        packages.push(package);
        Ok(json!(uri))
    };
    if let Some(folder) = given.get("working_dir").cloned() {
        let folder =
            folder.as_str().context("'working_dir' is the path of a folder or .zip file")?.to_owned();
        given.insert("working_dir".to_owned(), packed(&folder, false)?);
    }
    if let Some(modules) = given.get("py_modules").cloned() {
        let modules: Vec<String> =
            serde_json::from_value(modules).context("'py_modules' is a list of paths")?;
        let uris = modules.iter().map(|path| packed(path, true)).collect::<anyhow::Result<Vec<_>>>()?;
        given.insert("py_modules".to_owned(), Value::Array(uris));
    }
    for (installer, key) in [("pip", "packages"), ("uv", "packages")] {
        if let Some(wanted) = given.get_mut(installer) {
            *wanted = requirements(installer, key, wanted)?;
        }
    }
    let env = RuntimeEnv::parse(&Value::Object(given).to_string()).map_err(anyhow::Error::msg)?;
    Ok((env, packages))
}

/// A list, a requirements file or a whole description becomes a description.
fn requirements(installer: &str, key: &str, wanted: &Value) -> anyhow::Result<Value> {
    let read = |file: &str| -> anyhow::Result<Value> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("the requirements file {file} cannot be read"))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(lines.map(Value::from).collect())
    };
    match wanted {
        Value::Array(_) => Ok(json!({ key: wanted })),
        Value::String(file) => Ok(json!({ key: read(file)? })),
        Value::Object(whole) => {
            let mut whole = whole.clone();
            if let Some(Value::String(file)) = whole.get(key) {
                let lines = read(file)?;
                whole.insert(key.to_owned(), lines);
            }
            Ok(Value::Object(whole))
        }
        _ => bail!("'{installer}' is a list of requirements, the path of a requirements file, or an object"),
    }
}

async fn put_packages(head: &mut Head, packages: &[Package]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let ids = packages.iter().map(|package| package.id.clone()).collect();
    let request = MissingPackagesRequest { protocol_version: PROTOCOL_VERSION, ids };
    let missing = head.missing_packages(request).await.map_err(client::sentence)?.into_inner().ids;
    for package in packages.iter().filter(|package| missing.contains(&package.id)) {
        use tokio::io::AsyncReadExt;
        let mut file = tokio::fs::File::open(package.file.path()).await?;
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let first = PackageChunk {
            id: package.id.clone(),
            total_bytes: package.bytes,
            protocol_version: PROTOCOL_VERSION,
            ..PackageChunk::default()
        };
        let reading = async move {
            let mut first = first;
            loop {
                let mut data = vec![0; CHUNK_BYTES];
                let read = file.read(&mut data).await?;
                data.truncate(read);
                // The head may have seen enough of it.
                if read == 0
                    || sender
                        .send(PackageChunk { data: data.into(), ..std::mem::take(&mut first) })
                        .await
                        .is_err()
                {
                    return std::io::Result::Ok(());
                }
            }
        };
        let put = head.put_package(tokio_stream::wrappers::ReceiverStream::new(receiver));
        let (read, put) = tokio::join!(reading, put);
        read.context("a package cannot be read")?;
        put.map_err(client::sentence)?;
    }
    Ok(())
}

async fn job(head: &mut Head, id: &str) -> anyhow::Result<Value> {
    let rows = client::rows(head, StateKind::StateSubmittedJobs, &[]).await?;
    let found = rows.into_iter().find(|row| row["submission_id"] == id);
    found.with_context(|| format!("there is no submitted job '{id}'; see 'manta job list'"))
}

async fn wait_while(head: &mut Head, id: &str, waits: impl Fn(&str) -> bool) -> anyhow::Result<Value> {
    loop {
        let job = job(head, id).await?;
        if !job["status"].as_str().is_some_and(&waits) {
            return Ok(job);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn status(args: &JobArgs) -> anyhow::Result<()> {
    let job = job(&mut open(&args.at.address).await?, &args.submission_id).await?;
    if args.json {
        return print_json(&job);
    }
    let status = job["status"].as_str().unwrap_or_default();
    print(&format!("{}: {status}\n{}\n", args.submission_id, job["message"].as_str().unwrap_or_default()));
    Ok(())
}

async fn logs(args: &JobLogsArgs) -> anyhow::Result<()> {
    let mut head = open(&args.at.address).await?;
    let mut found = job(&mut head, &args.submission_id).await?;
    if args.follow {
        found = wait_while(&mut head, &args.submission_id, |status| status == "PENDING").await?;
    }
    if found["started_unix_ms"].as_u64().unwrap_or(0) == 0 {
        // Nothing was printed: what is known is why.
        eprintln!("manta: {}", found["message"].as_str().unwrap_or_default());
        return Ok(());
    }
    copy_log(&mut head, &found, args.tail, args.follow).await
}

/// Prints what the driver of a job printed.
async fn copy_log(head: &mut Head, job: &Value, tail: i64, follow: bool) -> anyhow::Result<()> {
    let id = job["submission_id"].as_str().unwrap_or_default();
    if job["node_name"].is_null() {
        bail!("the node that ran the driver of '{id}' has left the cluster, and its logs with it");
    }
    let name = format!("job-driver-{id}.log");
    let read = Question::ReadLog(ReadLog { name, tail, follow, task_id: String::new() });
    let node = job["node_id"].as_str().unwrap_or_default().to_owned();
    let mut parts = client::ask_nodes(head, vec![node], read).await?;
    let mut stdout = std::io::stdout();
    while let Some(part) = client::next_part(&mut parts).await? {
        stdout.write_all(&part.data)?;
        stdout.flush()?;
    }
    Ok(())
}

async fn list(args: &JobListArgs) -> anyhow::Result<()> {
    let mut head = open(&args.at.address).await?;
    let rows = client::rows(&mut head, StateKind::StateSubmittedJobs, &[]).await?;
    if args.json {
        return print_json(&Value::Array(rows));
    }
    print_submitted(&rows);
    Ok(())
}

async fn stop(args: &JobStopArgs) -> anyhow::Result<()> {
    let mut head = open(&args.at.address).await?;
    let id = &args.submission_id;
    let request = StopJobRequest { protocol_version: PROTOCOL_VERSION, submission_id: id.clone() };
    let stopped = head.stop_job(request).await.map_err(client::sentence)?.into_inner().stopped;
    if !stopped {
        let job = job(&mut head, id).await?;
        print(&format!("The job '{id}' had ended: it is {}.\n", job["status"].as_str().unwrap_or_default()));
        return Ok(());
    }
    if args.no_wait {
        print(&format!("The job '{id}' was told to stop.\n"));
        return Ok(());
    }
    let job = wait_while(&mut head, id, |status| status == "PENDING" || status == "RUNNING").await?;
    print(&format!("The job '{id}' is {}.\n", job["status"].as_str().unwrap_or_default()));
    Ok(())
}

async fn delete(args: &JobArgs) -> anyhow::Result<()> {
    let mut head = open(&args.at.address).await?;
    let request =
        DeleteJobRequest { protocol_version: PROTOCOL_VERSION, submission_id: args.submission_id.clone() };
    head.delete_job(request).await.map_err(client::sentence)?;
    if args.json {
        return print_json(&json!({ "deleted": args.submission_id }));
    }
    print(&format!("The job '{}' was deleted.\n", args.submission_id));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_were_given() {
        let words =
            |words: &[&str]| entrypoint(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["python", "main.py", "--n=3"]), "python main.py --n=3");
        assert_eq!(words(&["echo", "it's", "a b", ""]), r"echo 'it'\''s' 'a b' ''");
        assert_eq!(words(&["cd x && python main.py"]), "cd x && python main.py");
    }
}
