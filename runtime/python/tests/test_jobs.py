"""Submitted jobs, with the command line and with the client; and the logs of what they ran."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import LocalCluster, until

from manta.job_submission import JobErrorType, JobStatus, JobSubmissionClient

MAIN = """
import os, signal, sys
import manta as ray
import helper

ray.init()

@ray.remote
def shout(word):
    print("the task says", word)
    return word.upper()

print("the driver is in", os.path.basename(os.getcwd()), sys.argv[1:])
print(ray.get(shout.remote(helper.WORD)), flush=True)
if sys.argv[1:] == ["fail"]:
    sys.exit("it went wrong")
if sys.argv[1:] == ["wait"]:
    signal.pause()
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """A cluster of one node, which this process may talk to."""
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    made = LocalCluster(nodes=1, num_cpus=2)
    monkeypatch.setenv("MANTA_ADDRESS", made.address)
    monkeypatch.setenv("MANTA_TOKEN", made.token)
    yield made
    made.close()


@pytest.fixture
def project(tmp_path: Path) -> str:
    """The files of a job."""
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "helper.py").write_text("WORD = 'hello'\n")
    return str(tmp_path)


def manta_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `manta`."""
    command = [os.environ["MANTA_BIN"], *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def ended(client: JobSubmissionClient, job: str) -> JobStatus:
    """How a job ended."""
    until(lambda: client.get_job_status(job).is_terminal())
    return client.get_job_status(job)


def test_a_job_runs_on_the_cluster_with_its_files_and_its_words_come_back(
    cluster: LocalCluster, project: str
) -> None:
    done = manta_command(
        "job",
        "submit",
        "--working-dir",
        project,
        "--submission-id",
        "first",
        "--",
        "python",
        "main.py",
        "a b",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "['a b']" in done.stdout and "HELLO" in done.stdout and "succeeded" in done.stdout
    assert "the task says hello" in done.stdout, "the driver shows what its tasks print"
    again = manta_command("job", "submit", "--submission-id", "first", "--no-wait", "--", "true")
    assert again.returncode == 1 and "exists already" in again.stderr
    row = json.loads(manta_command("job", "status", "first", "--json").stdout)
    assert (row["status"], row["exit_code"]) == ("SUCCEEDED", 0)
    drivers = json.loads(manta_command("list", "jobs", "--json").stdout)["rows"]
    assert row["job_id"] in [driver["job_id"] for driver in drivers]
    last = manta_command("job", "logs", "first", "--tail", "1").stdout
    assert last == "HELLO\n" or "the task says" in manta_command("job", "logs", "first").stdout
    assert manta_command("job", "delete", "first").returncode == 0
    assert "no submitted job 'first'" in manta_command("job", "status", "first").stderr


def test_a_job_that_fails_says_how_and_one_that_waits_can_be_stopped(
    cluster: LocalCluster, project: str
) -> None:
    failed = manta_command(
        "job", "submit", "--working-dir", project, "--submission-id", "bad", "--", "python", "main.py", "fail"
    )
    assert failed.returncode == 1
    assert "ended with exit code 1; its last lines:" in failed.stderr and "it went wrong" in failed.stderr
    waits = ("--submission-id", "waits", "--no-wait", "--", "python", "main.py", "wait")
    assert manta_command("job", "submit", "--working-dir", project, *waits).returncode == 0
    until(lambda: "HELLO" in manta_command("job", "logs", "waits").stdout)
    refused = manta_command("job", "delete", "waits")
    assert refused.returncode == 1 and "is RUNNING" in refused.stderr
    assert "is STOPPED" in manta_command("job", "stop", "waits").stdout
    assert "had ended" in manta_command("job", "stop", "waits").stdout
    listed = json.loads(manta_command("job", "list", "--json").stdout)
    assert [(row["submission_id"], row["status"]) for row in listed] == [
        ("waits", "STOPPED"),
        ("bad", "FAILED"),
    ]


def test_bad_input_is_refused_with_a_sentence(cluster: LocalCluster, project: str) -> None:
    for arguments, words in [
        (["--runtime-env-json", '{"zzz": 1}', "--", "true"], "unknown field `zzz`"),
        (["--runtime-env-json", "[]", "--", "true"], "is a JSON object"),
        (["--working-dir", "/no/such/folder", "--", "true"], "/no/such/folder does not exist"),
        (["--submission-id", "a/b", "--", "true"], "cannot be a submission id"),
        (["--metadata-json", '{"a": 1}', "--", "true"], "a JSON object of texts"),
        (["--entrypoint-num-cpus=-1", "--", "true"], "must be a number from 0 on"),
        (["--", " "], "a job has an entrypoint"),
    ]:
        refused = manta_command("job", "submit", *arguments)
        assert refused.returncode != 0 and words in refused.stderr, (arguments, refused.stderr)
    assert "the following required arguments" in manta_command("job", "submit").stderr
    assert json.loads(manta_command("job", "list", "--json").stdout) == []


def test_the_client_does_what_rays_does(cluster: LocalCluster, project: str) -> None:
    client = JobSubmissionClient(cluster.address)
    job = client.submit_job(
        entrypoint="python main.py", runtime_env={"working_dir": project}, metadata={"team": "red"}
    )
    assert ended(client, job) == JobStatus.SUCCEEDED
    info = client.get_job_info(job)
    assert (info.metadata, info.driver_exit_code, info.submission_id) == ({"team": "red"}, 0, job)
    assert "HELLO" in client.get_job_logs(job)

    async def tailed(job: str) -> str:
        return "".join([part async for part in client.tail_job_logs(job)])

    assert asyncio.run(tailed(job)) == client.get_job_logs(job)
    assert [details.submission_id for details in client.list_jobs() if details.submission_id] == [job]
    assert client.stop_job(job) is False
    assert client.delete_job(job) is True
    with pytest.raises(RuntimeError, match="does not exist"):
        client.get_job_status(job)
    with pytest.raises(TypeError, match="'entrypoint' must be text"):
        client.submit_job(entrypoint=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dict of texts"):
        client.submit_job(entrypoint="true", metadata={"a": 1})  # type: ignore[dict-item]
    with pytest.raises(ConnectionError):
        JobSubmissionClient("127.0.0.1:1")


def test_a_job_whose_init_contradicts_what_was_submitted_fails(cluster: LocalCluster) -> None:
    client = JobSubmissionClient(cluster.address)
    program = "import manta; manta.init(runtime_env={'env_vars': {'A': '2'}})"
    job = client.submit_job(entrypoint=f'python -c "{program}"', runtime_env={"env_vars": {"A": "1"}})
    assert ended(client, job) == JobStatus.FAILED
    assert "another env_vars['A']" in client.get_job_info(job).message  # type: ignore[operator]


def test_nothing_of_a_stopped_job_is_left(cluster: LocalCluster, tmp_path: Path) -> None:
    client = JobSubmissionClient(cluster.address)
    pids = tmp_path / "pids"
    job = client.submit_job(entrypoint=f"sleep 1000 & echo $! >> {pids}; echo $$ >> {pids}; wait")
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    assert client.stop_job(job) is True
    assert ended(client, job) == JobStatus.STOPPED
    for pid in pids.read_text().split():
        until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]


def test_logs_are_found_by_task_worker_and_name_also_when_the_worker_has_ended(cluster: LocalCluster) -> None:
    client = JobSubmissionClient(cluster.address)
    program = (
        "import manta as ray, sys; ray.init()\n"
        "def loud(): print('first line'); print('second line'); print('an error', file=sys.stderr)\n"
        "def quiet(): print('of another')\n"
        "ray.get(ray.remote(loud).options(name='loud').remote()); ray.get(ray.remote(quiet).options(name='quiet').remote())"
    )
    job = client.submit_job(entrypoint=f"python -c {json.dumps(program).replace(chr(92) + 'n', chr(10))}")
    assert ended(client, job) == JobStatus.SUCCEEDED, client.get_job_info(job).message

    def tasks() -> dict[str, str]:
        rows = json.loads(manta_command("list", "tasks", "--json").stdout)["rows"]
        return {row["name"]: row["task_id"] for row in rows if row["state"] == "FINISHED"}

    until(lambda: tasks().keys() >= {"loud", "quiet"})
    loud = tasks()["loud"]
    assert manta_command("logs", "--task", loud).stdout == "first line\nsecond line\n"
    assert manta_command("logs", "--task", loud[:12], "--tail", "1").stdout == "second line\n"
    assert manta_command("logs", "--task", loud, "--err").stdout == "an error\n"
    assert "an error" not in manta_command("logs", "--job", job, "--tail", "0").stdout
    logs = json.loads(manta_command("logs", "--json").stdout)
    worker = next(
        row["name"] for row in logs if row["name"].startswith("worker-") and row["name"].endswith(".out")
    )
    assert (
        "line" in manta_command("logs", worker).stdout or "of another" in manta_command("logs", worker).stdout
    )
    missing = manta_command("logs", "no-such-log")
    assert missing.returncode == 1 and "no node has a log" in missing.stderr
    unknown = manta_command("logs", "--task", "ffffffff")
    assert unknown.returncode == 1 and "knows no task" in unknown.stderr


def test_a_log_is_followed_until_its_writer_ends(cluster: LocalCluster, tmp_path: Path) -> None:
    client = JobSubmissionClient(cluster.address)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    job = client.submit_job(entrypoint=f"echo before; cat {gate}; echo after")
    command = [os.environ["MANTA_BIN"], "job", "logs", "-f", job]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "before\n"
    gate.write_text("between\n")
    rest, _ = follower.communicate(timeout=30)
    assert rest == "between\nafter\n" and follower.returncode == 0


def test_a_job_whose_environment_fails_says_so(cluster: LocalCluster, tmp_path: Path) -> None:
    client = JobSubmissionClient()
    job = client.submit_job(entrypoint="true", runtime_env={"pip": ["/no/such/package.whl"]})
    assert ended(client, job) == JobStatus.FAILED
    info = client.get_job_info(job)
    assert info.error_type == JobErrorType.RUNTIME_ENV_SETUP_FAILURE
    assert info.message is not None and "package.whl" in info.message
    failing = client.submit_job(entrypoint="exit 3")
    assert ended(client, failing) == JobStatus.FAILED
    assert client.get_job_info(failing).error_type == JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR
    rows = json.loads(manta_command("list", "runtime-envs", "--json").stdout)["rows"]
    assert [(row["state"], row["success"]) for row in rows] == [("FAILED", False)]
