"""Lines to jump to, and calls on one line to choose from."""


def first():
    return 1  # in first


def second(number):
    return number + 1  # in second


class Third:
    def __init__(self, number):
        self.number = number  # in constructor

    def method(self):
        return self.number  # in method


def calls():
    total = second(first()) + Third(3).method() + max([1, 2], key=lambda n: -n)  # many calls
    return total  # after calls


def jumps(number):
    done = []
    done.append("one")  # one
    done.append("two")  # two
    for _ in range(2):
        done.append("loop")  # in loop
    number += 1  # last
    return done, number  # end


def loops():
    turns = 0
    reached = turns  # before turns
    while turns < 3:
        turns += 1  # turn
    return turns, reached


def generates():
    received = yield 1  # first yield
    yield received  # second yield


print(calls())
print(jumps(1))
print(loops())
print(list(generates()))
