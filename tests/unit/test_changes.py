"""A bell for many listeners: nobody misses the last change, and nobody makes the teller wait."""

from __future__ import annotations

import asyncio
from threading import Thread

from meterlake.changes import Changes


def heard(changes, until, during):
    """Epochs that one listener hears while ``during`` runs in a thread, up to the epoch ``until``."""

    async def listen():
        found, watch = [], changes.watch(0.01)
        thread = Thread(target=during)
        async for epoch in watch:
            found.append(epoch)
            if len(found) == 1:
                thread.start()
            if epoch == until:
                break
        await watch.aclose()
        thread.join()
        return found

    return asyncio.run(asyncio.wait_for(listen(), 10))


def test_a_listener_hears_how_it_stands_first_and_the_last_change_last():
    changes = Changes()
    found = heard(changes, 1000, lambda: [changes.tell(epoch) for epoch in range(1, 1001)])
    assert (found[0], found[-1]) == (0, 1000)
    assert found == sorted(set(found))


def test_changes_between_two_wakings_are_one():
    changes = Changes()
    changes.tell(1)

    async def listen():
        watch = changes.watch(0.05)
        first = await anext(watch)
        for epoch in range(2, 500):
            changes.tell(epoch)
        second = await anext(watch)
        rest = asyncio.ensure_future(anext(watch))
        done, _ = await asyncio.wait({rest}, timeout=0.2)
        rest.cancel()
        await asyncio.wait({rest})
        return first, second, len(done)

    assert asyncio.run(listen()) == (1, 499, 0)


def test_a_listener_that_went_is_forgotten_and_one_whose_loop_ended_is_no_trouble():
    changes = Changes()

    async def leave():
        watch = changes.watch()
        await anext(watch)
        await watch.aclose()

    asyncio.run(leave())
    assert not changes._watchers
    loop, watch = asyncio.new_event_loop(), changes.watch()
    loop.run_until_complete(anext(watch))
    held = set(changes._watchers)
    loop.run_until_complete(watch.aclose())
    changes._watchers |= held  # as if the loop had been closed while it listened
    loop.close()
    changes.tell(7)
    assert changes.epoch == 7
