"""Tasks of one loop that answer each other, and a function without a loop; for what the debug console awaits."""

import asyncio


async def doubles(questions):
    while True:
        number, answer = await questions.get()
        answer.set_result(number * 2)


async def asks(questions, number):
    answer = asyncio.get_running_loop().create_future()
    questions.put_nowait((number, answer))
    return await answer


async def fails():
    await asyncio.sleep(0)
    raise LookupError("nothing there")


async def counts(numbers, number):
    await asyncio.sleep(0)
    numbers.append(number)  # in counts
    await asyncio.sleep(0)


async def main():
    questions = asyncio.Queue()
    server = asyncio.create_task(doubles(questions))
    numbers = []
    seen = 0
    await asyncio.gather(*(counts(numbers, number) for number in range(20)))
    found = await asks(questions, 21)
    server.cancel()  # in main
    return sorted(numbers) == list(range(20)), found, seen


def without_loop():
    seen = 1
    return seen  # without loop


print(without_loop(), *asyncio.run(main()))
