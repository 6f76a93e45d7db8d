"""Stand-ins for what the pool has around it: no wire, no clock."""

import asyncio


class Fake:
    """A connection without a wire."""

    def __init__(self, number=0, lingers=False):
        self.number = number
        self.lingers = lingers  # to the server it is still there when it was closed
        self.gone = asyncio.Event()
        self.calls = []
        self.host = None
        self.retire_at = float("inf")
        self.is_usable_now = True
        self.is_closed = False

    def is_usable(self, now):
        return self.is_usable_now and not self.is_closed and now < self.retire_at

    def close(self):
        self.is_closed = True

    def when_lost(self, call):
        self.calls.append(call)
        if not self.lingers:
            self.go()

    def go(self):
        """The server has seen the end of it."""
        self.gone.set()
        for call in self.calls:
            call(self)

    async def wait_closed(self):
        await self.gone.wait()

    def __repr__(self):
        return f"<Fake {self.number}>"


class Watch:
    """Deadlines that pass when the test says so."""

    def __init__(self):
        self.items = set()

    def watch(self, item):
        self.items.add(item)

    def forget(self, item):
        self.items.discard(item)

    def pass_all(self, late=0.0):
        for item in tuple(self.items):
            item.due = item.check(item.due, late)


async def turns(count=5):
    """Let the others have their turn."""
    for _ in range(count):
        await asyncio.sleep(0)
