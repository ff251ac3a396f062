"""A child that is forked by `multiprocessing`, and one by hand."""

import multiprocessing
import os


def work(number):
    print("child", number, flush=True)
    return number + 1  # in child


context = multiprocessing.get_context("fork")
child = context.Process(target=work, args=(7,))
child.start()
child.join()
print("joined", child.exitcode)
number = os.fork()
if number == 0:
    work(8)
    os._exit(4)
print("ended", os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
