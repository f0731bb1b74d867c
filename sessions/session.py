"""One incarnation of a service OS and one device: a dialogue over a channel, until that breaks.

Two threads carry the hot path. The sending one (gRPC's own, which pulls `_pull`) blocks on the
doorbell, pops what the guest offers and copies it into the window; the receiving one checks
completions and puts them into the used ring. They meet only in the device's lock. While a session
stands by, its sending thread waits for `begin` instead: the doorbell belongs to whoever serves.
"""

import os
import threading
from collections.abc import Callable, Iterator
from itertools import count

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import EnvironmentFault, PeerFault
from microhypervisor.limits import ATTACH_TIMEOUT_S, MAX_SLOTS, SLOT_STRIDE
from microhypervisor.memory.window import GrantWindow
from protos import core_pb2, io_pb2
from sessions.channel import Channel
from sessions.dialogue import Dialogue, Kind, Phase
from sessions.flood import Flood

_GRANTS = count(1)
UNMAP_S = 0.1  # after the end: unmapping stops all threads for 2 ms, and a recovery needs them


class Session:
    """`lost` hears of an end that nobody asked or waited for; `happened` of each step before.

    Both are called on threads of the session, `lost` also on the one that starts it if that fails.
    That one may hold locks of its own, the sending thread holds one of the session: what is called
    takes no lock that is held for long, and does not call back.
    """

    def __init__(
        self,
        device: ServedDevice,
        endpoint: core_pb2.ServiceEndpoint,
        channel: Channel,
        lost: Callable[["Session", str], None],
        happened: Callable[["Session", Kind, int], None],
        spec: str = "",
    ) -> None:
        self.device = device
        self.epoch = endpoint.epoch
        self.channel = channel
        self.problem: PeerFault | None = None  # why it is over
        self.behind: Session | None = None  # of the same incarnation, whose driver closes first
        self.dialogue = Dialogue(device, endpoint, self._step, spec)
        self._token = endpoint.token
        self._lost = lost
        self._happened = happened
        self._begin = threading.Event()
        self._made: set[Kind] = set()
        # of each step: set when it is made, or never will be
        self._steps = {
            core_pb2.EVENT_DEVICE_OPENED: threading.Event(),
            core_pb2.EVENT_DEVICE_ATTACHED: threading.Event(),
            core_pb2.EVENT_DEVICE_REPLAYED: threading.Event(),
        }
        self._said = threading.Event()  # all that ever will be; the doorbell is somebody else's
        self._over = threading.Event()  # nobody touches the device any more
        self._given_back = threading.Event()  # somebody waits for that
        self._awaited = True  # somebody waits until the device is open
        self._asked = self._closing = False
        self._own = False  # this process serves the device: it is believed
        self._flood = Flood()
        self._sending = threading.Lock()
        name = f"{device.guest}/{device.config.name}"
        self._thread = threading.Thread(target=self._receive, name=f"session {name}", daemon=True)

    @property
    def phase(self) -> Phase:
        """How far it has come."""
        return self.dialogue.phase

    @property
    def held_up(self) -> bool:
        """Whether another one is to be over before it can begin."""
        return self.behind is not None and not self.behind.join(0)

    def start(self, awaited: bool = True, window: bool = True) -> None:
        """Open the device; unless `awaited`, a failure is told to `lost`. Does not block long.

        Without `window` this process itself serves it. One that is closed by then says nothing.
        """
        self._awaited, self._own = awaited, not window
        try:
            if window and not self.device.config.inline_payload:
                self._grant()
            self._thread.start()
        except PeerFault as fault:
            self._end(fault)
        except EnvironmentFault as fault:
            self._end(PeerFault(str(fault)))
        except (OSError, RuntimeError) as error:  # no more descriptors, or threads
            self._end(PeerFault(f"the host refuses: {error}"))

    def begin(self, alone: bool = False) -> bool:
        """Have this incarnation serve the device, as soon as it is open; False if it is over."""
        possible = self.dialogue.begin(alone)
        self._begin.set()
        return possible

    def wait_opened(self) -> PeerFault | None:
        """Until the device is open; returns why it is not, if so. At most ATTACH_TIMEOUT_S."""
        return self._wait(core_pb2.EVENT_DEVICE_OPENED, "Attach")

    def wait_attached(self) -> PeerFault | None:
        """Until the incarnation serves; returns why it does not. At most ATTACH_TIMEOUT_S."""
        return self.wait_opened() or self._wait(core_pb2.EVENT_DEVICE_ATTACHED, "Begin")

    def wait_replayed(self, timeout_s: float | None) -> PeerFault | None:
        """Until all that was in flight is done, or for so long; returns why it is over."""
        self._steps[core_pb2.EVENT_DEVICE_REPLAYED].wait(timeout_s)
        return self.problem

    @property
    def served(self) -> bool:
        """Whether it has attached."""
        return core_pb2.EVENT_DEVICE_ATTACHED in self._made

    @property
    def replayed(self) -> bool:
        """Whether all that was in flight is done."""
        return core_pb2.EVENT_DEVICE_REPLAYED in self._made

    @property
    def broke_in_replay(self) -> bool:
        """Whether it is over, and was between Attached and the end of the replay then."""
        return self.problem is not None and self.served and not self.replayed

    def end(self) -> None:
        """Say nothing more and end the stream in order; `join` tells when it is over."""
        self._asked = True
        self.dialogue.end()
        self.device.ring()

    def wait_said(self, timeout_s: float) -> bool:
        """Whether the last message of one that ends is on its way, in time."""
        return self._said.wait(timeout_s)

    def join(self, timeout_s: float) -> bool:
        """Whether the incarnation has ended the stream too, in time."""
        return self._over.wait(max(0.0, timeout_s))

    def abort(self) -> None:
        """End the exchange, without waiting. Any thread, any number of times."""
        self._asked = self._closing = True
        self.channel.close()
        self._wake()

    def leave(self) -> None:
        """End the exchange and wait until nobody touches the device on its behalf."""
        self.abort()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._over.wait()

    def close(self) -> None:
        """Leave, and wait until everything is given back."""
        self.abort()
        self._given_back.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _wait(self, step: Kind, said: str) -> PeerFault | None:
        in_time = self._steps[step].wait(ATTACH_TIMEOUT_S)
        if step in self._made:  # what came after that is told by itself
            return None
        if self.problem or not in_time:
            self.close()
        if not in_time:
            driver = self.dialogue.spec.partition(":")[0]
            doing = "open" if said == "Attach" else "begin"
            self.problem = PeerFault(
                f"no answer to {said} within {ATTACH_TIMEOUT_S:g} s: "
                f"driver {driver!r} does not {doing}; find what it waits for, or give another"
            )
        return self.problem

    def _grant(self) -> None:
        guest, device = self.device.guest, self.device.config.name
        self.dialogue.window = window = GrantWindow(f"{guest}/{device}", MAX_SLOTS, SLOT_STRIDE)
        number = self.dialogue.grant = next(_GRANTS)
        grant = io_pb2.Grant(epoch=self.epoch, token=self._token, guest=guest, device=device)
        grant.number = number
        self.channel.grant(grant, window.fd)

    def _receive(self) -> None:
        problem = PeerFault("a bug of the core: see its log")
        try:
            for message in self.channel.exchange(self._pull()):
                if not (self.dialogue.heard(message) or self._own):
                    said = 1 + len(message.completions.completions)
                    self._flood.add(said, self.device.log.answered)
        except PeerFault as fault:
            problem = fault
        finally:
            self._end(problem)

    def _end(self, problem: PeerFault) -> None:
        self.problem = problem
        self._closing = True
        self.channel.close()
        self._wake()
        with self._sending:  # from here on nobody sends
            phase = self.dialogue.close()
        for step in (*self._steps.values(), self._said, self._over):
            step.set()
        expected = phase is not Phase.ATTACHED and (self.dialogue.wanted or self._awaited)
        if not self._asked and not expected:
            self._lost(self, str(problem))
        if self.dialogue.window:
            self._given_back.wait(UNMAP_S)
            self.dialogue.window.close()

    def _wake(self) -> None:
        """Have the sending thread look; whoever else waits for the doorbell looks in vain."""
        self._begin.set()
        self.device.ring()

    def _step(self, kind: Kind, count: int) -> None:
        self._awaited = False
        self._happened(self, kind, count)
        self._made.add(kind)
        if kind in self._steps:
            self._steps[kind].set()

    def _pull(self) -> Iterator[io_pb2.CoreMessage]:
        """What gRPC's sending thread iterates; it is outside while one holds `_sending`."""
        while True:
            with self._sending:
                message = self._next()
            if message is None:
                return
            yield message

    def _next(self) -> io_pb2.CoreMessage | None:
        dialogue, doorbell = self.dialogue, self.device.doorbell
        while not self._closing:
            if message := dialogue.next_message():
                return message
            if dialogue.finished:
                self._said.set()
                return None
            if dialogue.wanted:
                os.eventfd_read(doorbell)
            else:
                self._begin.wait()
        return None
