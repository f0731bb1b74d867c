"""A service OS as a process, and the core's side of its streams played by the test."""

import fcntl
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys

import grpc
import pytest

from protos.io_pb2 import Attach, Begin, CoreMessage, End, Grant, Reset
from protos.io_pb2_grpc import DeviceIoStub

TOKEN = "secret"
STRIDE = 8192
SLOTS = 16
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
PATIENCE = 60  # seconds; only a failing test waits so long


def command(epoch, io, grants, ready_fd):
    options = {"name": "main", "epoch": epoch, "listen": io, "grants": grants, "ready-fd": ready_fd}
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "service_os", *words]


class Stream:
    """One Serve call as the core makes it: `send` a message, `next` answer."""

    def __init__(self, incarnation, attach):
        self.epoch = incarnation.epoch
        self._outgoing = queue.SimpleQueue()
        self._call = DeviceIoStub(incarnation.channel).Serve(
            iter(self._outgoing.get, None), timeout=PATIENCE
        )
        self.send(CoreMessage(attach=attach))
        self.window = None

    def send(self, message):
        self._outgoing.put(message)

    def begin(self, state=b""):
        """Have it serve; `next` is then `attached`."""
        self.send(CoreMessage(begin=Begin(state=state)))

    def reset(self):
        self.send(CoreMessage(reset=Reset()))

    def any(self):
        """The next answer."""
        return next(self._call)

    def opened(self):
        """Wait until it stands by; what it says of that."""
        message = self.any()
        assert message.HasField("opened")
        return message.opened

    def next(self):
        """The next answer, after `opened`."""
        message = self.any()
        return self.any() if message.HasField("opened") else message

    def submit(self, *requests, replay=False):
        message = CoreMessage()
        message.batch.epoch, message.batch.replay = self.epoch, replay
        message.batch.requests.extend(requests)
        self.send(message)

    def completions(self):
        reply = self.next()
        assert reply.WhichOneof("body") == "completions"
        assert reply.completions.epoch == self.epoch
        return reply.completions

    def refusal(self):
        """Status and text of a call that must fail."""
        with pytest.raises(grpc.RpcError) as raised:
            self.next()
        return raised.value.code(), raised.value.details()

    def end(self):
        """Say that another one serves from now on."""
        self.send(CoreMessage(end=End()))

    def hang_up(self):
        """Say that nothing more will come."""
        self._outgoing.put(None)

    def close(self):
        """Hang up in order and wait for the end of the call."""
        self.hang_up()
        assert list(self._call) == []

    def cancel(self):
        self._call.cancel()
        self._outgoing.put(None)


class Incarnation:
    """A running service OS."""

    def __init__(self, run_dir, epoch, env, options, **how):
        self.epoch = epoch
        self.run_dir = run_dir
        self.io = run_dir / f"io.{epoch}"
        self.grants = run_dir / f"grants.{epoch}"
        ready, ready_write = os.pipe()
        self.process = subprocess.Popen(
            [*command(epoch, self.io, self.grants, ready_write), *options],
            pass_fds=[ready_write],
            env={
                **os.environ,
                "SPLITVISOR_TOKEN": TOKEN,
                "SPLITVISOR_RUN_DIR": str(run_dir),
                **env,
            },
            **how,
        )
        os.close(ready_write)
        assert os.read(ready, 2) == b"1"
        os.close(ready)
        self.channel = grpc.insecure_channel(f"unix:{self.io}")

    def attach(self, model, spec, *, window=None, state=b"", **fields):
        """A Stream that begins at once; the rest see `stand_by`."""
        stream = self.stand_by(model, spec, window=window, **fields)
        stream.begin(state)
        return stream

    def stand_by(self, model, spec, *, window=None, **fields):
        """A Stream; `window`: what the grant window is to be like, {} for as it should be."""
        attach = Attach(
            **{"epoch": self.epoch, "token": TOKEN, "guest": "g", "device": "d", **fields},
            model=model,
            spec=spec,
        )
        view = None
        if window is not None:
            attach.window.bytes, attach.window.stride = STRIDE * SLOTS, STRIDE
            view = self.grant(**window)
        stream = Stream(self, attach)
        stream.window = view
        return stream

    def grant(self, *, size=STRIDE * SLOTS, seals=SEALS, token=TOKEN, epoch=None, device="d"):
        """Send a window for guest `g`; our own mapping of it."""
        fd = os.memfd_create("window", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        grant = Grant(epoch=epoch or self.epoch, token=token, guest="g", device=device)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            peer.connect(os.fspath(self.grants))
            socket.send_fds(peer, [grant.SerializeToString()], [fd])
        view = mmap.mmap(fd, size)
        os.close(fd)
        return view

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """End it in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self):
        self.channel.close()
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()


@pytest.fixture
def start(tmp_path):
    """A function that starts the next incarnation; all share `tmp_path` as run directory."""
    started = []

    def start_next(env=None, options=(), **how):
        incarnation = Incarnation(tmp_path, len(started) + 1, env or {}, options, **how)
        started.append(incarnation)
        return incarnation

    yield start_next
    for incarnation in started:
        incarnation.close()
