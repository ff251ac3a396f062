"""Says how it was started, and ends in the way that it is told."""

import json
import os
import signal
import subprocess
import sys
import time


def say(**what):
    print(json.dumps(what), flush=True)  # says


how = sys.argv[1] if len(sys.argv) > 1 else ""
say(words=sys.argv[1:], folder=os.getcwd(), mark=os.environ.get("MARK"), home=os.environ.get("HOME"), name=__name__)
say(started=sys.orig_argv[1:])
if how == "leaves":
    child = subprocess.Popen(["sleep", "1000"])
    say(child=child.pid)
    time.sleep(1000)
elif how == "ignores":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(ready=True)
    while True:
        time.sleep(1)
elif how == "kills":
    os.kill(os.getpid(), signal.SIGKILL)
elif how == "writes":
    os.write(1, b"from below\n")
    subprocess.run(["echo", "from a child"])
    print("no line's end", end="")
sys.exit(7)
