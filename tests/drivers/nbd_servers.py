"""NBD servers that can be killed, stopped and started again, for tests of what stands on them."""

import shutil
import signal
import socket
import subprocess
import time

import pytest

PACKAGES = {"qemu-nbd": "qemu-utils", "qemu-img": "qemu-utils", "nbdkit": "nbdkit"}


def program(name):
    """Skips the test, and says what to install, where it is not there."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


class Server:
    """One that listens on `path`; `command` starts it in the foreground."""

    def __init__(self, path, command):
        self.path = path
        self.process = None
        self._command = [program(command[0]), *map(str, command[1:])]

    def start(self):
        """Until it can be connected to."""
        self.path.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not self._listens():
            if self.process.poll() is not None:
                raise AssertionError(self.process.stderr.read().decode())
            assert time.monotonic() < deadline, f"{self._command} does not listen"
            time.sleep(0.005)
        return self

    def kill(self):
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.communicate()

    def stop(self):
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def _listens(self):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.path))
            except OSError:
                return False
        return True

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.kill()


def qemu_nbd(path, image, *more, image_format="raw"):
    """One that serves an image."""
    options = ["--persistent", "--shared=0", f"--socket={path}", f"--format={image_format}"]
    return Server(path, ["qemu-nbd", *options, *more, image])


def nbdkit(path, *what):
    """One with a plugin, filters and their settings."""
    return Server(path, ["nbdkit", "--foreground", f"--unix={path}", *what])


def make_image(path, size, image_format="raw"):
    """An empty image."""
    command = [program("qemu-img"), "create", "-q", "-f", image_format, path, str(size)]
    subprocess.run(command, check=True)
    return path
