"""The channel to a service OS: an exchange of messages, found by entry point.

A channel pulls what the core wants to say from an iterator and gives what comes back as another.
Pulling, because the thread that sends is then the thread that waits for the doorbell: a request
crosses no queue inside the core. The core knows no channel by name (see channels/ for those that
there are): not gRPC, and not what serves a device within this process.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault
from microhypervisor.events import EventLog
from protos import core_pb2, io_pb2

REMOTE = ("splitvisor.channels", "grpc")  # entry point of the channel to a service OS
RESIDENT = "splitvisor.resident"  # group of models that this process serves, by name


class ChannelClosed(PeerFault):
    """The exchange is over: the peer died, refused or hung up; the text says which."""


class Channel(Protocol):
    """A connection to one incarnation of a service OS, for one device."""

    def exchange(self, outgoing: Iterator[io_pb2.CoreMessage]) -> Iterator[io_pb2.ServiceMessage]:
        """Send what `outgoing` yields, yield what comes back; ends with ChannelClosed."""

    def grant(self, grant: io_pb2.Grant, fd: int) -> None:
        """Hand the grant window over, before Attach; ChannelClosed if nobody takes it.

        EnvironmentFault if this host cannot.
        """

    def close(self) -> None:
        """End the exchange. Any thread, any number of times."""


# What an entry point is. A resident one makes no use of the endpoint, whose epoch is 1.
Open = Callable[[ServedDevice, core_pb2.ServiceEndpoint, EventLog], Channel]
