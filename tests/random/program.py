"""A program that is debugged: its lines as they come, with a deadline."""

import queue
import subprocess
import threading
import time

from wire import SECONDS_MAX, Wrong


class Program:
    """A child with lines in and out."""

    def __init__(self, command, environment=None):
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        self._lines = queue.SimpleQueue()
        self.errors = queue.SimpleQueue()
        for stream, into in ((self.child.stdout, self._lines), (self.child.stderr, self.errors)):
            threading.Thread(target=self._read, args=(stream, into), daemon=True).start()
        self.lines = []

    @staticmethod
    def _read(stream, into):
        for line in stream:
            into.put(line.decode("utf-8", "replace").rstrip("\n"))
        into.put(None)

    def write(self, line):
        """Sends it a line."""
        self.child.stdin.write(f"{line}\n".encode())
        self.child.stdin.flush()

    def line(self, seconds=SECONDS_MAX):
        """Its next line; None when there is none in time."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)
            raise Wrong(f"the program has ended with {self.child.wait()} after {self.lines[-1:]}")
        self.lines.append(line)
        return line

    def expect(self, line):
        """The next line has to be this one."""
        found = self.line()
        if found != line:
            raise Wrong(f"the program printed {found!r}, not {line!r}")

    def is_done(self, seconds=0.0):
        """Has it printed its last line? Takes what there is."""
        until = time.monotonic() + seconds
        while self.lines[-1:] != ["done"]:
            if self.line(max(0.0, until - time.monotonic())) is None:
                return False
        return True

    def ends_well(self):
        """Waits for its end."""
        try:
            code = self.child.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            raise Wrong("the program does not end") from error
        if code != 0:
            raise Wrong(f"the program ended with {code}")

    def kill(self):
        """Ends it, whatever it does."""
        self.child.kill()
        self.child.wait()
