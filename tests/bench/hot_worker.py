"""What asks a hot program for its work: shared by what measures the cost of being debugged."""

ASKS = 7


class Worker:
    """A process of `hot.py` or of the fixture `bench_hot`, debugged or not."""

    def __init__(self, process):
        self.process = process

    def ask(self, work, count):
        self.process.stdin.write(f"{work} {count}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def least(workers, work, count):
    """The least time of each worker, which are asked in turn, so that what else the machine does meets them alike."""
    for worker in workers:
        worker.ask(work, count)
    times = [[worker.ask(work, count) for worker in workers] for _ in range(ASKS)]
    return [min(column) for column in zip(*times, strict=True)]
