"""What tasks print reaches the driver, whole and under the task's name."""

from __future__ import annotations

import re

import pytest
from conftest import start_script


def test_prints_of_tasks_appear_with_name_and_pid(run_script):
    done = run_script(
        """
        import os, sys
        import manta as ray

        @ray.remote
        def speak(i):
            print("line", i)
            print("error", i, file=sys.stderr)
            print("no newline at the end", end="")
            return os.getpid()

        print("pid", ray.get(speak.remote(7)))
        """
    )
    assert done.returncode == 0, done.stderr
    pid = re.search(r"^pid (\d+)$", done.stdout, re.MULTILINE).group(1)
    assert f"(speak pid={pid}) line 7\n" in done.stdout
    assert f"(speak pid={pid}) no newline at the end\n" in done.stdout
    assert f"(speak pid={pid}) error 7\n" in done.stderr


def test_nothing_is_lost_when_the_program_ends_at_once(run_script):
    done = run_script(
        """
        import manta as ray

        @ray.remote
        def many(i):
            for j in range(500):
                print(f"task {i} line {j}")

        ray.get([many.options(name="many").remote(i) for i in range(4)])
        """
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^\(many pid=\d+\) task (\d) line (\d+)$", done.stdout, re.MULTILINE)
    for task in range(4):
        assert [int(line) for which, line in lines if int(which) == task] == list(range(500))


def test_a_long_line_is_cut_and_says_so(run_script):
    done = run_script(
        """
        import manta as ray

        @ray.remote
        def prints():
            print("x" * 100_000)
            print("next")

        ray.get(prints.remote())
        """
    )
    assert done.returncode == 0, done.stderr
    long, following = re.findall(r"^\(prints pid=\d+\) (.*)$", done.stdout, re.MULTILINE)
    assert long.startswith("xxx") and long.endswith("[this line was cut: it had 100000 bytes]")
    assert following == "next"


def test_child_processes_are_heard_too(run_script, tmp_path):
    program = """
        import subprocess, sys
        import manta as ray

        @ray.remote
        def prints():
            subprocess.run(["echo", "from a child"], check=True)

        ray.get(prints.remote())
        sys.stdin.read()
        """
    with start_script(program, tmp_path) as driver:
        assert re.fullmatch(r"\(.*pid=\d+\) from a child\n", driver.stdout.readline())


def test_a_breakpoint_without_a_session_is_passed(run_script):
    done = run_script(
        """
        import manta as ray

        @ray.remote
        def stops():
            breakpoint()
            return "went on"

        print(ray.get(stops.remote()))
        """
    )
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    assert "program.py:6 was passed: no debug session is attached" in done.stderr


def test_output_can_be_turned_off(run_script):
    done = run_script(
        """
        import manta as ray
        ray.init(log_to_driver=False)
        ray.get(ray.remote(lambda: print("unheard")).remote())
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


@pytest.mark.parametrize("ignored", [False, True])
def test_errors_that_nobody_gets_are_told(run_script, ignored):
    done = run_script(
        f"""
        import gc, os
        if {ignored}:
            os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"
        import manta as ray

        @ray.remote
        def fails(word):
            raise ValueError(word)

        @ray.remote
        class Actor:
            def fails(self, word):
                raise KeyError(word)

            def works(self):
                pass

        @ray.remote
        def passes(x):
            return x

        ray.init(num_cpus=1)
        fails.remote("forgotten")
        actor = Actor.remote()
        actor.fails.remote("forgotten too")
        ray.get(actor.works.remote())
        kept = fails.remote("awaited")
        ray.wait([kept])
        del kept
        read = [fails.remote("read"), passes.remote(fails.remote("passed on"))]
        for ref in read:
            try:
                ray.get(ref)
            except ValueError:
                pass
        running = passes.remote(1)
        ray.cancel(running)
        del ref, read, running
        gc.collect()
        ray.shutdown()
        """
    )
    told = sorted(line for line in done.stderr.splitlines() if "nobody asked" in line)
    sentence = "task '{}' failed, and nobody asked for its result: {}"
    expected = [
        sentence.format("Actor.fails", "KeyError: 'forgotten too'"),
        sentence.format("fails", "ValueError: awaited"),
        sentence.format("fails", "ValueError: forgotten"),
    ]
    assert told == ([] if ignored else expected), done.stderr
