"""Drivers whose methods are `async def`, for trio: called and waited for like any others.

A device of a service OS has a thread, and a driver that waits there for a file or a lock needs
nothing else. One that speaks to many peers at once is easier to write with trio. What it awaits
runs in one more thread, shared by all such drivers of the process, which is not started, and trio
not imported, before one is opened. Each call costs two hand-overs between threads, some 0.1 ms.

A call may wait for somebody who never answers. When nobody waits for the device any more, because
the core gave it up or this process ends, what it awaits is cancelled; what is left to be done, a
flush and `close`, has two seconds.
"""

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from drivers.interface import DriverError, MediumError

if TYPE_CHECKING:
    import trio

COROUTINE = 0x80  # CO_COROUTINE, see the module `inspect`, which takes long to import
GRACE_SECONDS = 2.0  # less than anybody waits for the end of this process


class Calls:
    """The async calls of one device, of all drivers in its stack."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()  # both are trio's thread's alone
        self._deadline = math.inf

    def adapt(self, driver: Any) -> Any:
        """The driver as others expect it: itself, if nothing of it is async."""
        names = _coroutines(type(driver))
        if "start" in names:
            raise DriverError(
                f"driver {type(driver).__name__}: start cannot be async: "
                "it calls back from a thread of its own"
            )
        return _Waiting(driver, names, self) if names else driver

    def cancel(self) -> None:
        """Nobody waits any more: what is under way fails, and what comes is soon to be done."""
        if _loop is not None:
            _loop.token.run_sync_soon(self._cancel)

    def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """What an async method gives; MediumError if it is cancelled."""
        return _the_loop().run(partial(self._work, method, *arguments))

    def close(self, method: Callable[..., Any]) -> None:
        """The same for `close`, which is not cancelled by what came before."""
        _the_loop().run(partial(_limited, method))

    async def _work(self, method: Callable[..., Any], *arguments: Any) -> Any:
        import trio  # noqa: PLC0415  # there, for we are run by it

        with trio.CancelScope(deadline=self._deadline) as scope:
            self._scopes.add(scope)
            try:
                return await method(*arguments)
            finally:
                self._scopes.discard(scope)
        raise MediumError("nobody waits for it any more")

    def _cancel(self) -> None:
        import trio  # noqa: PLC0415  # there, for we are run by it

        self._deadline = trio.current_time() + GRACE_SECONDS
        for scope in self._scopes:
            scope.cancel()


class _Waiting:
    """The driver, with methods that come back when theirs are done."""

    def __init__(self, driver: Any, names: list[str], calls: Calls) -> None:
        self._driver = driver
        for name in names:
            how = calls.close if name == "close" else calls.call
            setattr(self, name, partial(how, getattr(driver, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


class _Loop:
    """Trio, in a thread that lasts as long as the process."""

    def __init__(self) -> None:
        import trio  # noqa: PLC0415  # only where a driver wants it

        self._from_thread = trio.from_thread.run
        self.token: trio.lowlevel.TrioToken
        runs = threading.Event()

        async def main() -> None:
            self.token = trio.lowlevel.current_trio_token()
            runs.set()
            await trio.sleep_forever()

        threading.Thread(target=trio.run, args=(main,), name="trio", daemon=True).start()
        runs.wait()

    def run(self, function: Callable[[], Any]) -> Any:
        return self._from_thread(function, trio_token=self.token)


_loop: _Loop | None = None
_making = threading.Lock()


def _the_loop() -> _Loop:
    global _loop  # noqa: PLW0603  # one for all devices
    with _making:
        if _loop is None:
            _loop = _Loop()
        return _loop


async def _limited(method: Callable[[], Any]) -> None:
    import trio  # noqa: PLC0415  # there, for we are run by it

    with trio.move_on_after(GRACE_SECONDS):
        await method()


def _coroutines(kind: type[Any]) -> list[str]:
    """The public methods of a class that are `async def`."""
    return [
        name
        for name in dir(kind)
        if not name.startswith("_")
        and getattr(getattr(getattr(kind, name), "__code__", None), "co_flags", 0) & COROUTINE
    ]
