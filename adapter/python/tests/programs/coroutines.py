"""Tasks that await each other in every way that asyncio has, and others that only wait."""

import asyncio


async def sleeps(seconds):
    note = f"sleeps {seconds}"
    await asyncio.sleep(seconds)  # sleeps
    return note


async def numbers():
    yield 1
    await asyncio.sleep(60)  # in generator
    yield 2


async def consumes():
    async for number in numbers():  # consumes
        taken = number
    return taken


async def inner(value):
    await asyncio.sleep(0)  # really waits
    doubled = value * 2  # inner body
    return doubled  # inner return


async def middle(value):
    return await inner(value)  # middle awaits


async def awaits_task():
    task = asyncio.create_task(middle(1), name="child")
    result = await task  # awaits task
    return result + 1  # after task


async def awaits_gather():
    found = await asyncio.gather(middle(2), sleeps(0))  # awaits gather
    return found  # after gather


async def awaits_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(middle(3))
    return 3


async def main():
    idle = [asyncio.create_task(sleeps(60), name="idler"), asyncio.create_task(consumes(), name="consumer")]
    await asyncio.sleep(0)
    found = [await awaits_task(), await awaits_gather(), await awaits_group()]
    for task in idle:
        task.cancel()
    return found


print(asyncio.run(main()))
