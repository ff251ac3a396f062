"""The API tables of `runtime/README.md` are held to the names of Ray 2.60 and to what the package has."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from typing import Any

import pytest
from conftest import REPOSITORY

import manta
from manta import _actor_options, _options, _runtime_env

NAMES = REPOSITORY / "runtime" / "python" / "tests" / "ray_names.txt"
# The modules that a table's names are of.
SECTIONS = {
    "Functions": "ray",
    "Types": "ray",
    "The runtime context": "ray.runtime_context.RuntimeContext",
    "`runtime_env`": "ray.runtime_env.fields",
    "`ray.exceptions`": "ray.exceptions",
    "`ray.util`": "ray.util",
    "`ray.util.state`": "ray.util.state",
    "`ray.job_submission`": "ray.job_submission",
    "`ray.dag`": "ray.dag",
    "`ray.cluster_utils`": "ray.cluster_utils",
    "Everything else": "ray",
}
OPTIONS = {"Options of tasks": _options, "Options of actors": _actor_options}


def rows() -> list[tuple[str, list[str], str, str]]:
    """Of each row of the tables: its section, names, status and note."""
    found, section = [], ""
    for line in (REPOSITORY / "runtime" / "README.md").read_text().splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("| ") and len(cells := [cell.strip() for cell in line[1:-1].split(" | ")]) > 1:
            names = [name for name in re.findall(r"`([\w.]+)`", cells[0]) if name != "…"]
            if cells[1] in ("works", "differs", "absent"):
                found.append((section, names, cells[1], cells[2] if len(cells) > 2 else ""))
    return found


def table() -> dict[str, tuple[str, str]]:
    """The status and note of each name, with its module."""
    known = {}
    for section, names, status, note in rows():
        if section in SECTIONS:
            for name in names:
                full = name if name.startswith("ray.") else f"{SECTIONS[section]}.{name}"
                assert known.get(full, (status, ""))[0] == status, f"{full} stands in the tables twice"
                known[full] = (status, note)
    return known


def lines() -> list[list[str]]:
    text = re.sub(r"\n +", " ", NAMES.read_text())
    return [line.split(": ") for line in text.splitlines() if line and not line.startswith("#")]


def rays_names() -> list[tuple[str, str]]:
    """(module or class, name) of everything public."""
    return [(owner, name) for owner, names in lines() if owner.startswith("ray") for name in names.split()]


def others(kind: str) -> set[str]:
    """Names that are not of a module: options, fields, arguments."""
    return next(set(names.split()) for owner, names in lines() if owner == kind)


def ours(path: str) -> Any:
    """What the package has under one of Ray's names; raises when it has nothing."""
    parts = path.replace("ray", "manta", 1).split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[length:], module)
    raise AttributeError(path)


def is_there(path: str) -> bool:
    try:
        ours(path)
    except AttributeError:
        return False
    return True


def said_of(known: dict[str, tuple[str, str]], owner: str, name: str) -> tuple[str, str] | None:
    """What the tables say of a name: under its module, under a shorter path to it, or of all that its module has."""
    for path in (
        f"{owner}.{name}",
        f"ray.{name}",
        f"ray.util.{name}",
        f"ray.util.scheduling_strategies.{name}",
    ):
        if path in known:
            return known[path]
    parts = owner.split(".")
    wholes = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    return next((known[whole] for whole in wholes if whole in known), None)


CLASSES = {owner for owner, _ in rays_names() if owner.rpartition(".")[2][0].isupper()}


@pytest.mark.parametrize("owner", sorted({owner for owner, _ in rays_names()} - CLASSES))
def test_each_public_name_has_the_status_that_the_tables_give_it(owner: str) -> None:
    known = table()
    for name in (name for module, name in rays_names() if module == owner):
        if name in ("util", "actor", "RuntimeContext"):
            continue  # What has a table of its own, or names in others.
        said = said_of(known, owner, name)
        assert said is not None, f"the tables say nothing of {owner}.{name}"
        assert is_there(f"{owner}.{name}") == (said[0] != "absent"), f"{owner}.{name}: {said}"


@pytest.mark.parametrize("owner", sorted(CLASSES))
def test_each_public_member_is_there_or_named_as_missing(owner: str) -> None:
    status, note = said_of(table(), *owner.rsplit(".", 1)) or ("works", "")
    members = dir(ours(owner))
    missing = {name for class_, name in rays_names() if class_ == owner and name not in members}
    if owner == "ray.runtime_context.RuntimeContext":
        assert not missing
        return
    unsaid = {name for name in missing if f"`{name}`" not in note}
    assert status != "absent" and not unsaid, f"{owner} has no {unsaid}, and the table does not say so"
    assert not missing or status == "differs"


def test_the_tables_name_nothing_that_is_not_there() -> None:
    for path, (status, _) in table().items():
        if not path.startswith("ray.runtime_env.fields."):
            there = is_there(path) if status == "absent" else is_there(_longer(path))
            assert there == (status != "absent"), f"{path} is {status}"


def _longer(path: str) -> str:
    """Where a name is that a table gives without its module."""
    if is_there(path):
        return path
    name = path.rpartition(".")[2]
    modules = ("actor", "remote_function", "util.scheduling_strategies")
    return next((full for module in modules if is_there(full := f"ray.{module}.{name}")), path)


def option_rows(section: str) -> dict[str, str]:
    return {
        name: status
        for of, names, status, _ in rows()
        if of == section
        for name in names
        if not name.startswith("ray")
    }


def sentence_of(call: Any) -> str:
    """What a wrong value is refused with; empty when it is taken."""
    try:
        call()
    except (TypeError, ValueError, NotImplementedError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("section", OPTIONS)
def test_each_option_is_taken_or_refused_as_the_tables_say(section: str) -> None:
    target: Any = (
        (lambda: None) if section == "Options of tasks" else type("C", (), {"m": lambda _self: None})
    )
    said = option_rows(section)
    public = others(section)
    assert public <= set(said), f"the table says nothing of {public - set(said)}"
    methods = _actor_options.METHOD_OPTIONS
    for option, status in said.items():
        if section == "Options of actors" and option in methods and option not in public:
            continue
        sentence = sentence_of(lambda option=option: manta.remote(target).options(**{option: object()}))
        refused = "not supported" in sentence or "is not an option" in sentence
        assert refused == (status == "absent"), f"{option} is {status}: {sentence}"


def test_each_field_of_an_environment_is_taken_or_refused_as_the_tables_say() -> None:
    said = {name.rpartition(".")[2]: status for name, (status, _) in table().items() if ".fields." in name}
    assert others("Fields of environments") <= set(said)
    for field, status in said.items():
        sentence = sentence_of(lambda field=field: _runtime_env.checked({field: object()}))
        refused = "is not supported" in sentence or "is not part of" in sentence
        assert refused == (status == "absent"), f"{field} is {status}: {sentence}"


def test_each_argument_of_init_is_taken_or_refused_with_a_sentence() -> None:
    taken = {*inspect.signature(manta.init).parameters, *manta._session._WITHOUT_EFFECT}
    for name in sorted(others("Arguments of init")):
        if name not in taken:
            with pytest.raises((NotImplementedError, RuntimeError), match="support"):
                manta.init(**{name: object()})


def test_ids_have_rays_methods() -> None:
    assert manta.JobID.from_int(7).int() == 7
    for kind in (
        manta.ActorID,
        manta.NodeID,
        manta.TaskID,
        manta.WorkerID,
        manta.PlacementGroupID,
        manta.ClusterID,
    ):
        made = kind.from_random()
        assert kind.from_hex(made.hex()) == made == kind.from_binary(made.binary()) == kind(made.binary())
        assert (made.is_nil(), kind.nil().is_nil(), len(made.binary())) == (False, True, kind.size())
        with pytest.raises(ValueError, match="bytes"):
            kind(b"short")
    assert manta.ObjectID is manta.ObjectRef


def test_an_environment_is_a_value_with_rays_methods() -> None:
    env = manta.runtime_env.RuntimeEnv(
        pip=["x"], env_vars={"A": "1"}, config=manta.runtime_env.RuntimeEnvConfig(setup_timeout_seconds=5)
    )
    assert (env.has_pip(), env.has_uv(), env.has_conda(), env.has_working_dir()) == (
        True,
        False,
        False,
        False,
    )
    assert env.pip_config()["packages"] == ["x"] and env.uv_config() == {}
    assert (env.working_dir(), env.working_dir_uri(), env.py_modules(), env.env_vars()) == (
        "",
        None,
        [],
        {"A": "1"},
    )
    assert env.get("config", data_class=manta.runtime_env.RuntimeEnvConfig)["setup_timeout_seconds"] == 5
    assert type(env.to_dict()["config"]) is dict
    assert manta.runtime_env.RuntimeEnv.deserialize(env.serialize()) == env
    env.set("working_dir", ".")
    assert env["working_dir"] == "." and env.has_working_dir()
    with pytest.raises(TypeError, match="env_vars"):
        env["env_vars"] = {"A": 1}
    with pytest.raises(ValueError, match="'working_dir' in a runtime_env: there is no '/no/such/folder'"):
        manta.runtime_env.RuntimeEnv(working_dir="/no/such/folder")
    with pytest.raises(ValueError, match="'py_modules' in a runtime_env: there is no '/no/such/folder'"):
        manta.runtime_env.RuntimeEnv(py_modules=["/no/such/folder"])


def test_job_infos_go_through_json() -> None:
    from manta.job_submission import JobErrorType, JobInfo, JobStatus

    info = JobInfo(JobStatus.FAILED, "python x.py", error_type=JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR)
    assert info.to_json()["status"] == "FAILED"
    assert JobInfo.from_json(info.to_json()) == info


def test_an_empty_placement_group_stands_for_none() -> None:
    empty = manta.util.PlacementGroup.empty()
    assert empty.is_empty and empty.bundle_count == 0
