"""QEMU's microvm with its disk in another process, `qemu-storage-daemon`, over vhost-user-blk.

This is as near as QEMU comes to a service OS. The guest's memory is a shared memfd that the daemon
maps as a whole. After a death QEMU goes back to the daemon's socket when the `reconnect` timer of
the character device says so. Before QEMU 9.2 that timer counts whole seconds, so one second is the
best there is; later ones are asked for ten milliseconds.

vhost-user can keep track of requests in flight in memory that outlives the daemon (QEMU's
docs/interop/vhost-user.rst, "Inflight I/O tracking"), but the storage daemon of 7.2 does not offer
it: QEMU never sends it GET_INFLIGHT_FD. The new daemon then goes on at the used index, which is
right only if everything before it had been completed in order.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QEMU, DAEMON = "qemu-system-x86_64", "qemu-storage-daemon"
INSTALL = "apt-get install qemu-system-x86 qemu-system-common"
KVM = "/dev/kvm"
BLOCK = 4096
MILLISECONDS_SINCE = (9, 2)


def missing() -> str:
    """What stands in the way, with the cure, in one line; empty if nothing does."""
    absent = [name for name in (QEMU, DAEMON) if shutil.which(name) is None]
    if absent:
        return f"{' and '.join(absent)} not installed: {INSTALL}"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM} cannot be used, and emulated CPUs would be compared with nothing"
    return ""


def version() -> str:
    """QEMU's, such as 7.2.22."""
    text = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+\.\d+[.\d]*)", text)
    if found is None:
        raise SystemExit(f"{QEMU} does not tell its version: {text.strip()}")
    return found[1]


def reconnect(qemu: str) -> str:
    """The option for the quickest return that this version has."""
    major, minor, *_ = map(int, qemu.split("."))
    return "reconnect-ms=10" if (major, minor) >= MILLISECONDS_SINCE else "reconnect=1"


class Daemon:
    """A storage daemon that serves `disk.img` of a folder on `disk.sock`; listening when made."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [
                *(DAEMON, "--blockdev", f"file,node-name=file,filename={folder / 'disk.img'}"),
                *("--blockdev", "raw,node-name=disk,file=file", "--export"),
                "vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,"
                f"addr.path={folder / 'disk.sock'}",
                *("--chardev", "stdio,id=monitor", "--monitor", "monitor"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        # Options take effect in their order: who greets has exported.
        assert self._process.stdout
        if not self._process.stdout.readline():
            raise SystemExit(f"{DAEMON} ended with status {self._process.wait()}")
        self._before = self.transferred()

    def transferred(self) -> int:
        """Bytes read and written by its system calls (proc(5): rchar, wchar)."""
        text = Path(f"/proc/{self.pid}/io").read_text(encoding="ascii")
        return sum(int(line.split()[1]) for line in text.splitlines()[:2])

    def serves(self) -> bool:
        """Whether it has moved a block since it was made; its messages are far shorter."""
        return self.transferred() >= self._before + BLOCK

    def kill(self) -> None:
        """SIGKILL, and reaped."""
        with self._process:
            self._process.kill()


@contextmanager
def microvm(
    folder: Path, image: Path, arguments: str, option: str
) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU with a guest; the console goes to the file `console`, QEMU's own words to `errors`."""
    command = [
        *(QEMU, "-M", "microvm,acpi=off,memory-backend=ram", "-accel", "kvm", "-cpu", "qemu64"),
        *("-m", "64", "-object", "memory-backend-memfd,id=ram,size=64M,share=on"),
        *("-nodefaults", "-no-user-config", "-nographic", "-no-reboot"),
        *("-global", "virtio-mmio.force-legacy=false"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-device", "virtio-rng-device"),
        *("-chardev", f"file,id=console,path={folder / 'console'}"),
        *("-device", "virtio-serial-device", "-device", "virtconsole,chardev=console"),
        *("-chardev", f"socket,id=disk,path={folder / 'disk.sock'},{option}"),
        *("-device", "vhost-user-blk,chardev=disk,num-queues=1"),
        *("-kernel", str(image), "-append", arguments),
    ]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
