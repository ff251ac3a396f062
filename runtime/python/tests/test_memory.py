"""Running out of memory, on nodes whose limit is below what the machine uses anyway."""

from __future__ import annotations

from conftest import Run

LOW = {"MANTA_MEMORY_USAGE_THRESHOLD": "0.001", "MANTA_MEMORY_MONITOR_REFRESH_MS": "50"}


def test_a_task_without_retries_fails_with_the_figures(run_script: Run) -> None:
    program = """
        import signal
        import manta as ray
        ray.init(num_cpus=1)

        @ray.remote(max_retries=0)
        def hungry():
            signal.pause()

        try:
            ray.get(hungry.remote())
        except ray.exceptions.OutOfMemoryError as error:
            print(error)
    """
    ended = run_script(program, env=LOW)
    assert "task 'hungry' ran out of memory" in ended.stdout, ended.stderr
    assert "above the limit of 0.1%" in ended.stdout and "GiB" in ended.stdout


def test_a_task_with_a_retry_runs_again_as_often_as_it_takes(run_script: Run) -> None:
    program = """
        import os, signal, sys
        import manta as ray
        ray.init(num_cpus=1)

        @ray.remote(max_retries=1)
        def hungry(path):
            with open(path, "a") as file:
                file.write("x")
            if os.path.getsize(path) < 4:
                signal.pause()
            return "fed"

        print(ray.get(hungry.remote(sys.argv[1])))
    """
    ended = run_script(program, "attempts", env=LOW)
    assert ended.stdout == "fed\n", ended.stderr


def test_a_share_that_is_none_is_refused(run_script: Run) -> None:
    ended = run_script("import manta; manta.init()", env={"MANTA_MEMORY_USAGE_THRESHOLD": "1.5"})
    assert "a share from 0 to 1, not 1.5" in ended.stderr
