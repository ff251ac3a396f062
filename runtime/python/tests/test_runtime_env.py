"""`runtime_env`: files, modules, variables and packages of tasks, over real workers."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import Run, start_script, until

import manta

PROJECT = {
    "main_module.py": "VALUE = 'one'\n",
    "pkg/__init__.py": "from main_module import VALUE\n",
    "data.txt": "some data",
    "big.bin": "too big",
    "notes.log": "ignored by git",
    ".gitignore": "*.log\n",
}

PROGRAM = """
    import os, sys
    import manta as ray

    ray.init(num_cpus=2, runtime_env={"working_dir": sys.argv[1], "py_modules": [sys.argv[2]], "excludes": ["*.bin"],
                                      "env_vars": {"A": "job", "B": "job", "H": "${HOME}/x"}})

    @ray.remote
    def seen():
        import extra, pkg
        return pkg.VALUE, extra.NAME, sorted(os.listdir(".")), os.environ["A"], os.environ["B"], os.environ["H"]

    @ray.remote(runtime_env={"env_vars": {"B": "task"}})
    def nested():
        return ray.get(seen.remote())

    @ray.remote(runtime_env={"env_vars": {"C": "actor"}})
    class Actor:
        def seen(self):
            return os.environ["A"], os.environ["C"], open("data.txt").read()

    print(ray.get(seen.remote()))
    print(ray.get(nested.remote()))
    print(ray.get(Actor.remote().seen.remote()))
    print(ray.get(seen.options(runtime_env={"env_vars": {"A": "options"}}).remote())[3:5])
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    """Makes a folder with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_files_modules_and_variables_reach_tasks_and_are_inherited(run_script: Run, tmp_path: Path) -> None:
    project = write(tmp_path / "project", PROJECT)
    extra = write(tmp_path / "modules" / "extra", {"__init__.py": "NAME = 'extra'\n"})
    ended = run_script(PROGRAM, str(project), str(extra))
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    files = [".gitignore", "data.txt", "main_module.py", "pkg"]
    home = os.path.expanduser("~")
    first = eval(lines[0])
    assert first[:2] == ("one", "extra")
    assert [name for name in first[2] if name != "__pycache__"] == files
    assert first[3:] == ("job", "job", f"{home}/x")
    assert eval(lines[1])[3:5] == ("job", "task"), "a nested task has its parent's environment"
    assert eval(lines[2]) == ("job", "actor", "some data")
    assert eval(lines[3]) == ("options", "job")
    (project / "main_module.py").write_text("VALUE = 'two'\n")
    again = run_script(PROGRAM, str(project), str(extra))
    assert eval(again.stdout.splitlines()[0])[0] == "two", "an edit is seen by the next run"


def test_a_zip_file_is_as_good_as_a_folder(run_script: Run, tmp_path: Path) -> None:
    archive = tmp_path / "project.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.txt", "zipped")
    program = """
        import sys
        import manta as ray
        ray.init(num_cpus=1, runtime_env={"working_dir": sys.argv[1]})
        print(ray.get(ray.remote(lambda: open("data.txt").read()).remote()))
    """
    ended = run_script(program, str(archive))
    assert ended.stdout == "zipped\n", ended.stderr


def test_what_pip_installs_is_there_for_tasks_and_shared_by_runs(run_script: Run, tmp_path: Path) -> None:
    source = shipped_package(tmp_path)
    program = """
        import sys
        import manta as ray
        ray.init(num_cpus=1)

        @ray.remote(runtime_env={"pip": {"packages": [sys.argv[1]], "pip_check": False}})
        def inside():
            import shipped_by_pip
            return shipped_by_pip.VALUE, sys.prefix

        print(*ray.get(inside.remote()))
        try:
            import shipped_by_pip
        except ImportError:
            print("only for the task")
    """
    first = run_script(program, str(source))
    assert first.returncode == 0, first.stderr
    value, prefix = first.stdout.splitlines()[0].split()
    assert (value, first.stdout.splitlines()[1]) == ("42", "only for the task")
    assert Path(prefix).parent == Path(os.environ["MANTA_HOME"]) / "environments"
    made = (Path(prefix) / "manta.json").stat().st_ino
    second = run_script(program, str(source))
    assert second.stdout == first.stdout, second.stderr
    assert (Path(prefix) / "manta.json").stat().st_ino == made, "it was built once"


# The smallest backend that pip can build a wheel with, so that no index is needed.
BACKEND = """
import os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "shipped_by_pip-1.0-py3-none-any.whl"
    info = "shipped_by_pip-1.0.dist-info/"
    files = {
        "shipped_by_pip.py": "VALUE = 42\\\\n",
        info + "METADATA": "Metadata-Version: 2.1\\\\nName: shipped_by_pip\\\\nVersion: 1.0\\\\n",
        info + "WHEEL": "Wheel-Version: 1.0\\\\nGenerator: test\\\\nRoot-Is-Purelib: true\\\\nTag: py3-none-any\\\\n",
        info + "RECORD": "",
    }
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
""".replace("\\\\", "\\")


def shipped_package(folder: Path) -> Path:
    """The source of a package that needs no index to be built."""
    return write(
        folder / "source",
        {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": BACKEND,
        },
    )


def test_what_uv_installs_is_there_for_tasks(run_script: Run, tmp_path: Path) -> None:
    got = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(tmp_path), "uv"],
        capture_output=True,
        text=True,
        check=False,
    )
    if got.returncode != 0:
        pytest.skip(f"no package index can be reached, and uv comes from there: {got.stderr.strip()[-300:]}")
    source = shipped_package(tmp_path)
    program = """
        import sys
        import manta as ray
        ray.init(num_cpus=1)

        @ray.remote(runtime_env={"uv": {"packages": [sys.argv[1]], "uv_check": True}})
        def inside():
            import shipped_by_pip
            return shipped_by_pip.VALUE, sys.prefix

        @ray.remote(runtime_env={"uv": ["./no-such-folder-of-manta"]})
        def never(): ...

        print(*ray.get(inside.remote()))
        try:
            ray.get(never.remote())
        except ray.exceptions.RuntimeEnvSetupError as error:
            print("no-such-folder-of-manta" in str(error))
    """
    ended = run_script(program, str(source))
    assert ended.returncode == 0, ended.stderr
    found, refused = ended.stdout.splitlines()
    value, prefix = found.split()
    assert (value, refused) == ("42", "True")
    assert Path(prefix).parent == Path(os.environ["MANTA_HOME"]) / "environments"


def test_another_interpreter_with_arguments_runs_the_tasks(run_script: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(other)], check=True)
    program = """
        import sys
        import manta as ray
        ray.init(num_cpus=1)

        @ray.remote
        def where():
            return sys.prefix, sys.flags.dev_mode

        print(*ray.get(where.remote()))
        print(*ray.get(where.options(runtime_env={"py_executable": sys.argv[1] + " -X dev"}).remote()))
        try:
            ray.get(where.options(runtime_env={"py_executable": "/no/such/python"}).remote())
        except ray.exceptions.RayError as error:
            print(error)
    """
    ended = run_script(program, str(other / "bin/python"))
    assert ended.returncode == 0, ended.stderr
    usual, there, refused = ended.stdout.split("\n", 2)
    assert usual == f"{sys.prefix} False"
    assert there == f"{other} True"
    assert "/no/such/python cannot be started: No such file or directory" in refused


def test_a_package_that_does_not_exist_fails_the_task_with_pips_own_words(ray: object) -> None:
    wanted = {"pip": {"packages": ["./no-such-folder-of-manta"]}}

    @manta.remote(runtime_env=wanted)
    def never() -> None: ...

    @manta.remote(runtime_env=wanted)
    class Never:
        def method(self) -> None: ...

    with pytest.raises(manta.exceptions.RuntimeEnvSetupError, match="no-such-folder-of-manta"):
        manta.get(never.remote())
    with pytest.raises(manta.exceptions.RuntimeEnvSetupError, match="no-such-folder-of-manta"):
        manta.get(Never.remote().method.remote())

    @manta.remote
    def well() -> int:
        return 1

    assert manta.get(well.remote()) == 1, "others are not harmed"


def endless_package(folder: Path) -> tuple[Path, Path]:
    """A package whose building never ends, and the file into which the builder writes its process id."""
    built_by = folder / "built_by"
    source = write(
        folder / "endless",
        {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": f"""
import os, pathlib, signal

def build_wheel(*args, **kwargs):
    part = pathlib.Path({str(built_by)!r} + ".part")
    part.write_text(str(os.getpid()))
    part.rename({str(built_by)!r})
    signal.pause()
""",
        },
    )
    return source, built_by


def assert_ends(built_by: Path) -> None:
    """The builder, which pip started, ends."""
    try:
        process = os.pidfd_open(int(built_by.read_text()))
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], 30)[0], "what pip has started goes on"
    finally:
        os.close(process)


def test_an_environment_that_takes_too_long_is_given_up(ray: object, tmp_path: Path) -> None:
    source, built_by = endless_package(tmp_path)

    @manta.remote(runtime_env={"pip": [str(source)], "config": {"setup_timeout_seconds": 1}})
    def never() -> None: ...

    with pytest.raises(manta.exceptions.RuntimeEnvSetupError, match="not ready after 1 s"):
        manta.get(never.remote())
    # On a machine that is very busy, the second was over before anything was built.
    if built_by.exists():
        assert_ends(built_by)


def test_what_pip_started_does_not_outlive_its_node(tmp_path: Path) -> None:
    source, built_by = endless_package(tmp_path)
    program = """
        import sys
        import manta

        manta.init(num_cpus=1)

        @manta.remote(runtime_env={"pip": [sys.argv[1]]})
        def never(): ...

        never.remote()
        sys.stdin.read()
    """
    with start_script(program, tmp_path, str(source)) as driver:
        until(built_by.exists, 60)
        driver.kill()
    assert_ends(built_by)


@pytest.mark.parametrize(
    ("env", "error", "words"),
    [
        ({"conda": "base"}, ValueError, "'conda' in a runtime_env is not supported"),
        ({"env_vars": {"A": 1}}, TypeError, "Dict\\[str, str\\]"),
        ({"env_vars": ["A"]}, TypeError, "Dict\\[str, str\\]"),
        ({"working_dir": 5}, TypeError, "must be text"),
        ({"working_dir": "s3://bucket/x.zip"}, ValueError, "remote package"),
        ({"py_modules": "text"}, TypeError, "list of paths"),
        ({"excludes": "*.bin"}, TypeError, "list of texts"),
        ({"pip": 5}, TypeError, "str, List\\[str\\] or dict"),
        ({"pip": {"pip_check": True}}, ValueError, "must include field 'packages'"),
        ({"pip": {"packages": [], "x": 1}}, ValueError, "has no 'x'"),
        ({"pip": "/no/such/requirements.txt"}, ValueError, "cannot be read"),
        ({"pip": [], "uv": []}, ValueError, "cannot be specified at the same time"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "greater than zero"),
        ({"config": {"setup_timeout_seconds": "1"}}, TypeError, "must be of type int"),
        ("text", TypeError, "must be a dict"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_given(env: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        manta.remote(runtime_env=env)(lambda: None)
    with pytest.raises(error, match=words):
        manta.runtime_env.RuntimeEnv(**env) if isinstance(env, dict) else manta.init(runtime_env=env)  # type: ignore[arg-type]


def test_a_folder_that_is_missing_is_said_before_anything_starts(ray: object) -> None:
    with pytest.raises(ValueError, match="/no/such/folder does not exist"):
        manta.remote(runtime_env={"working_dir": "/no/such/folder"})(lambda: None).remote()


def test_two_nodes_get_the_files_and_init_refuses_a_missing_folder(two_nodes: object, tmp_path: Path) -> None:
    project = write(tmp_path / "project", {"data.txt": "shipped"})
    program = """
        import os
        import pathlib
        import sys
        import manta as ray
        try:
            ray.init(address=sys.argv[1], runtime_env={"working_dir": "/no/such/folder"})
        except ValueError as error:
            print(error)
        ray.init(address=sys.argv[1], runtime_env={"working_dir": sys.argv[2]})

        @ray.remote(scheduling_strategy="SPREAD")
        def where(own, marks):
            # Both run at once, so neither can follow the other on one node's worker.
            pathlib.Path(own).touch()
            while not all(os.path.exists(mark) for mark in marks):
                os.sched_yield()
            return ray.get_runtime_context().get_node_id(), open("data.txt").read()

        marks = sys.argv[3:]
        found = ray.get([where.remote(mark, marks) for mark in marks], timeout=50)
        assert {text for _, text in found} == {"shipped"}
        print(len({node for node, _ in found}), "nodes")
    """
    arguments = (two_nodes.address, str(project), *(str(tmp_path / name) for name in ("first", "second")))  # type: ignore[attr-defined]
    with start_script(program, tmp_path, *arguments, MANTA_TOKEN=two_nodes.token) as script:  # type: ignore[attr-defined]
        output, _ = script.communicate(timeout=60)
    assert "/no/such/folder does not exist" in output and output.endswith("2 nodes\n")


HOOKED = """
    import os, sys
    import manta as ray

    def prepare():
        os.environ["PREPARED"] = os.environ.get("PREPARED", "") + "x"

    ray.init(num_cpus=2, runtime_env={"worker_process_setup_hook": prepare, "working_dir": sys.argv[1]})

    @ray.remote
    def seen():
        return os.environ.get("PREPARED"), "PREPARED_BY_MODULE" in os.environ

    @ray.remote(runtime_env={"worker_process_setup_hook": "hooks.prepare"})
    class Actor:
        def seen(self):
            return os.environ.get("PREPARED"), "PREPARED_BY_MODULE" in os.environ

    def broken():
        raise ValueError("cannot prepare")

    print([ray.get(seen.remote()) for _ in range(3)])
    print(ray.get(Actor.remote().seen.remote()))
    for call in (seen.options(runtime_env={"worker_process_setup_hook": broken}).remote,
                 Actor.options(runtime_env={"worker_process_setup_hook": "hooks.absent"}).remote().seen.remote):
        try:
            ray.get(call())
        except ray.exceptions.RuntimeEnvSetupError as error:
            print("broken" in str(error), "hooks" in str(error))
    assert "PREPARED" not in os.environ, "the driver is no worker"
"""


def test_a_hook_runs_once_in_each_worker_before_its_first_task(run_script: Run, tmp_path: Path) -> None:
    hooks = "import os\ndef prepare(): os.environ['PREPARED_BY_MODULE'] = '1'\n"
    project = write(tmp_path / "project", {"hooks.py": hooks})
    ended = run_script(HOOKED, str(project))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "[('x', False), ('x', False), ('x', False)]",
        "(None, True)",
        "True False",
        "False True",
    ]


@pytest.mark.parametrize(
    ("hook", "error"),
    [("nomodule", ValueError), (7, TypeError), (lambda big=b"x" * 600_000: big, ValueError)],
)
def test_a_wrong_hook_is_refused_where_it_is_given(hook: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="worker_process_setup_hook"):
        manta.runtime_env.RuntimeEnv(worker_process_setup_hook=hook)


def test_a_field_that_nobody_knows_is_told_and_has_no_effect(run_script) -> None:
    done = run_script(
        """
        import manta as ray

        ray.init(num_cpus=1, runtime_env={"zzz": 1})
        print(ray.get(ray.remote(lambda: 5).options(runtime_env={"env_vars": {"A": "1"}, "yyy": 2}).remote()))
        """
    )
    assert done.stdout == "5\n", done.stderr
    for name in ("zzz", "yyy"):
        assert f"'{name}' is not part of a runtime_env, and has no effect; it has working_dir," in done.stderr
