"""Drivers with `async def` methods, for checks: each call is waited for, in a thread with trio.

A service OS has its own way (service_os/asynchronous.py), which also gives up; here a check that
takes too long is ended with its process.
"""

import inspect
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

_token: Any = None


def adapt(driver: Any) -> Any:
    """The driver itself unless something of it is async."""
    kind = type(driver)
    names = [
        name
        for name in dir(kind)
        if not name.startswith("_") and inspect.iscoroutinefunction(getattr(kind, name))
    ]
    return _Waiting(driver, names) if names else driver


def _forget() -> None:
    """In a child that was forked: the thread is not there."""
    global _token  # noqa: PLW0603  # one loop for the process
    _token = None


os.register_at_fork(after_in_child=_forget)


class _Waiting:
    """The driver, with methods that come back when theirs are done."""

    def __init__(self, driver: Any, names: list[str]) -> None:
        self._driver = driver
        for name in names:
            setattr(self, name, partial(_wait, getattr(driver, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def _wait(method: Callable[..., Any], *arguments: Any) -> Any:
    import trio  # noqa: PLC0415  # most drivers do without

    if _token is None:
        _start()
    return trio.from_thread.run(method, *arguments, trio_token=_token)


def _start() -> None:
    import trio  # noqa: PLC0415

    runs = threading.Event()

    async def main() -> None:
        global _token  # noqa: PLW0603  # one loop for the process
        _token = trio.lowlevel.current_trio_token()
        runs.set()
        await trio.sleep_forever()

    threading.Thread(target=trio.run, args=(main,), name="trio", daemon=True).start()
    runs.wait()
