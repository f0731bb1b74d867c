"""Linux as the guest of a shared folder: its own 9P client, in a kernel that QEMU runs.

QEMU's network is the way from that kernel to here, and the service OS gets its requests as from a
core; so it is the protocol that is tested, not virtio. The service OS is killed again and again.

The kernel is that of Debian's linux-image-amd64 with its modules, busybox-static is all there is
besides; both may be unpacked to a directory of their own, named in SPLITVISOR_LINUX.
"""

import lzma
import os
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from tests.service_os.folder_core import Core

ROOT = Path(os.environ.get("SPLITVISOR_LINUX", "/"))
QEMU = shutil.which("qemu-system-x86_64")
BUSYBOX = ROOT / "bin" / "busybox"
MODULES = (
    *("virtio", "virtio_ring", "virtio_pci", "virtio_pci_modern_dev", "virtio_pci_legacy_dev"),
    *("failover", "net_failover", "virtio_net", "netfs", "fscache", "9pnet", "9pnet_fd", "9p"),
)
KERNELS = [
    path
    for path in sorted(ROOT.glob("boot/vmlinuz-*"))
    if list(ROOT.glob(f"lib/modules/{path.name.removeprefix('vmlinuz-')}/kernel/fs/9p/9p.ko*"))
]
BETWEEN_DEATHS_S = 1.0
MSIZE = 65536

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(QEMU is None, reason="no qemu-system-x86_64: apt install qemu-system-x86"),
    pytest.mark.skipif(not KERNELS, reason="no kernel with 9p: apt install linux-image-amd64"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="no busybox: apt install busybox-static"),
]

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc; mount -t devtmpfs none /dev
for round in 1 2 3 4 5; do for module in /modules/*; do insmod $module 2>/dev/null; done; done
ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0
options=trans=tcp,port={port},version=9p2000.L,msize={msize}
mount -t 9p -o $options 10.0.2.2 /mnt && cd /mnt || poweroff -f
sh -ex /work && echo WORKED
cd /; umount /mnt; poweroff -f
"""

WORK = """
test "$(cat hello)" = "from the host"
echo "from the guest" > answer
mkdir -p tree/a/b
for i in $(seq 40); do echo $i > tree/a/$i; done
ln -s ../a/7 tree/a/b/link; ln tree/a/8 tree/hard; chmod 640 tree/a/9
test "$(cat tree/a/b/link 2>/dev/null)" = ""; test "$(readlink tree/a/b/link)" = ../a/7
touch -d "2001-02-03 04:05:06" tree/a/10
cp -a tree copy; diff -r tree copy
mv copy/a/1 copy/a/renamed; mv copy moved
test $(find moved | wc -l) = $(find tree | wc -l)
dd if=/dev/urandom of=big bs=64k count=24 2>/dev/null; cp big big2; cmp big big2
sha256sum big > sum; truncate -s 1000000 big2; echo more >> big2
test $(stat -c %s big2) = 1000005
rm moved/a/2; test ! -e moved/a/2; rm -r moved; test ! -e moved
for i in $(seq 30); do mkdir d$i; mv d$i e$i; rmdir e$i; done
if cat outside; then false; fi
if mknod node c 1 3; then false; fi
"""


def archive(files):
    """A cpio archive (newc) of names with modes and contents."""
    whole = b""
    for name, mode, content in [*files, ("TRAILER!!!", 0, b"")]:
        fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (head + name.encode() + b"\0", content):
            whole += part + bytes(-len(part) % 4)
    return whole


def initramfs(kernel, port):
    version = kernel.name.removeprefix("vmlinuz-")
    directories = ("bin", "proc", "dev", "mnt", "modules")
    files = [(name, stat.S_IFDIR | 0o755, b"") for name in directories]
    files.append(("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes()))
    files.append(("init", stat.S_IFREG | 0o755, INIT.format(port=port, msize=MSIZE).encode()))
    files.append(("work", stat.S_IFREG | 0o755, WORK.encode()))
    for name in MODULES:
        for path in ROOT.glob(f"lib/modules/{version}/kernel/**/{name}.ko*"):
            content = path.read_bytes()
            content = lzma.decompress(content) if path.suffix == ".xz" else content
            files.append((f"modules/{name}.ko", stat.S_IFREG | 0o644, content))
    return archive(files)


def take(connection):
    """The next message of the guest's, or nothing at its end."""
    data = b""
    size = 4
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            return b""
        data += more
        size = max(size, int.from_bytes(data[:4], "little"))
    return data


@pytest.mark.timeout(400)
def test_what_linux_does_with_it_comes_out_right_though_its_server_dies(start, tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    (share / "hello").write_text("from the host\n")
    (tmp_path / "secret").write_text("secret")
    (share / "outside").symlink_to("../secret")
    core = Core(start, share, writable=MSIZE)
    over = threading.Event()

    def kill():
        while not over.wait(BETWEEN_DEATHS_S):
            core.incarnation.process.kill()

    def take_requests(connection):
        while data := take(connection):
            core.submit(data)
            asked.release()
        over.set()
        asked.release()

    asked = threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "initramfs").write_bytes(initramfs(KERNELS[-1], server.getsockname()[1]))
        command = [QEMU, "-accel", "tcg", "-m", "256", "-nographic", "-no-reboot"]
        command += ["-kernel", KERNELS[-1], "-initrd", tmp_path / "initramfs"]
        command += ["-append", "console=ttyS0 quiet panic=-1", "-netdev", "user,id=n"]
        command += ["-device", "virtio-net-pci,netdev=n,romfile="]
        log = (tmp_path / "log").open("wb")
        with log, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log) as qemu:
            try:
                server.settimeout(200)
                connection, _ = server.accept()
                threads = [threading.Thread(target=kill)]
                threads.append(threading.Thread(target=take_requests, args=(connection,)))
                for thread in threads:
                    thread.start()
                owed = 0
                while True:
                    if not owed:
                        asked.acquire()
                        owed += 1
                    if over.is_set():
                        break
                    for answer in core.answers():
                        connection.sendall(answer)
                        owed -= 1
                    while owed < 0:
                        asked.acquire()
                        owed += 1
                for thread in threads:
                    thread.join()
                connection.close()
                qemu.wait(60)
            finally:
                over.set()
                qemu.kill()
    said = (tmp_path / "log").read_text(errors="replace")
    assert "WORKED" in said, said[-3000:]
    print(f"{core.incarnation.epoch} incarnations, {core.replayed} requests replayed")
    assert core.incarnation.epoch > 3
    assert sorted(os.listdir(share)) == [
        *("answer", "big", "big2", "hello", "outside", "sum", "tree"),
    ]
    assert (share / "answer").read_text() == "from the guest\n"
    assert [(share / f"tree/a/{i}").read_text() for i in range(1, 41)] == [
        f"{i}\n" for i in range(1, 41)
    ]
    assert (share / "tree/hard").samefile(share / "tree/a/8")
    assert stat.S_IMODE((share / "tree/a/9").stat().st_mode) == 0o640
    assert (share / "tree/a/10").stat().st_mtime == 981_173_106
    subprocess.run(["sha256sum", "--check", "--quiet", "sum"], cwd=share, check=True)
