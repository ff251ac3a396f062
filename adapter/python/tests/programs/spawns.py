"""Children of every kind: by `multiprocessing`, by `subprocess`, through a shell, and forked by hand."""

import multiprocessing
import os
import subprocess
import sys


def work(number):
    print("child", number, flush=True)
    result = number + 1  # in child
    return result


def main(how):
    if how == "subprocess":
        done = subprocess.run([sys.executable, __file__, "leaf", "a b"], env={"MARK": "1"})
        print("ended", done.returncode)
    elif how == "shell":
        done = subprocess.run(f"exec {sys.executable} {__file__} leaf shell", shell=True)
        print("ended", done.returncode)
    elif how == "fork":
        number = os.fork()
        if number == 0:
            work(8)
            os._exit(4)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
    elif how == "pool":
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            print("sum", sum(pool.map(work, range(6))))
    elif how == "nested":
        done = subprocess.run([sys.executable, __file__, "subprocess"])
        print("ended", done.returncode)
    elif how == "waits":
        subprocess.run([sys.executable, "-c", "import time\nprint('up', flush=True)\ntime.sleep(1000)"])
    else:
        child = multiprocessing.get_context(how).Process(target=work, args=(7,))
        child.start()
        child.join()
        print("ended", child.exitcode)


if __name__ == "__main__":
    if sys.argv[1] == "leaf":
        seen = {name for name in os.environ if name.startswith(("MANTA_DEBUG", "PYTHONPATH"))}
        print("leaf", sys.argv[2:], sorted(seen), any("bootstrap" in path for path in sys.path), flush=True)
        work(9)
        sys.exit(5)
    main(sys.argv[1])
