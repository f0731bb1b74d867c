import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys

import pytest

from drivers.interface import Ability, Claim, DriverError, Keep, UnsupportedError
from drivers.registry import claims, content, make

SIZE = 1 << 20
KEY = random.Random(5).randbytes(64)


@pytest.fixture
def keep(tmp_path):
    return Keep(tmp_path / "keep")


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "a.img").write_bytes(bytes(SIZE))
    return f"encrypt:key={tmp_path}/key,child=(file:path={tmp_path}/a.img)"


def opened(spec, keep):
    disk = make("block", spec, keep)
    disk.begin()
    return disk


def read(disk, offset, size):
    into = memoryview(bytearray(size))
    disk.read(offset, into)
    return bytes(into)


def test_what_is_written_is_read_and_is_a_secret_below(spec, keep, tmp_path):
    disk = opened(spec, keep)
    data = random.Random(2).randbytes(1536) * 2
    disk.write(1024, memoryview(data))
    assert read(disk, 1024, 3072) == data
    assert read(disk, 1536, 512) == data[512:1024]
    below = (tmp_path / "a.img").read_bytes()
    assert (below[:1024], below[4096:]) == (bytes(1024), bytes(SIZE - 4096))
    assert len({below[at : at + 16] for at in range(1024, 4096, 16)}) == 192
    disk.flush()
    disk.close()
    heir = opened(spec, keep)
    assert read(heir, 1024, 3072) == data
    heir.close()


def test_zeros_are_secrets_too(spec, keep, tmp_path):
    disk = opened(spec, keep)
    assert Ability.WRITE_ZEROES in disk.abilities
    disk.write_zeroes(4096, 8192, True)
    assert read(disk, 4096, 8192) == bytes(8192)
    below = (tmp_path / "a.img").read_bytes()[4096:12288]
    assert len({below[at : at + 512] for at in range(0, 8192, 512)}) == 16
    disk.close()


def test_the_disk_below_is_not_told_what_is_not_in_use(spec, keep):
    disk = opened(spec, keep)
    assert Ability.DISCARD in disk.child.abilities
    assert Ability.DISCARD not in disk.abilities
    disk.write(0, memoryview(b"x" * 65536))
    with pytest.raises(UnsupportedError):
        disk.discard(0, 65536)
    assert read(disk, 0, 65536) == b"x" * 65536
    disk.close()


@pytest.mark.parametrize("unmap", [False, True])
@pytest.mark.parametrize("discard", ["off", "on"])
def test_only_with_discard_zeros_are_holes_and_only_if_they_may_be(
    spec, keep, tmp_path, unmap, discard
):
    disk = opened(f"{spec},discard={discard}", keep)
    disk.write(0, memoryview(b"x" * 65536))
    disk.write_zeroes(4096, 8192, unmap)
    assert read(disk, 0, 65536) == b"x" * 4096 + bytes(8192) + b"x" * (65536 - 12288)
    below = (tmp_path / "a.img").read_bytes()[4096:12288]
    assert (below == bytes(8192)) == (unmap and discard == "on")
    disk.close()


def test_with_discard_it_goes_through_and_a_hole_is_read_as_zeros(spec, keep, tmp_path):
    disk = opened(f"{spec},discard", keep)
    assert Ability.DISCARD in disk.abilities
    assert read(disk, 0, 4096) == bytes(4096)  # never written
    data = random.Random(7).randbytes(65536)
    disk.write(0, memoryview(data))
    disk.discard(4096, 8192)
    below = (tmp_path / "a.img").read_bytes()
    if below[4096:12288] != bytes(8192):
        disk.close()
        pytest.skip("the file system of the test's folder punches no holes")
    assert read(disk, 0, 65536) == data[:4096] + bytes(8192) + data[12288:]
    assert read(disk, 3584, 1024) == data[3584:4096] + bytes(512)
    disk.write(4608, memoryview(data[:512]))  # within the hole
    assert read(disk, 4096, 1536) == bytes(512) + data[:512] + bytes(512)
    disk.close()
    heir = opened(f"{spec},discard", keep)
    assert read(heir, 4096, 1536) == bytes(512) + data[:512] + bytes(512)
    heir.close()


def test_with_discard_a_disk_below_that_has_none_stays_one(spec, keep):
    disk = opened(spec.replace("a.img", "a.img,discard=off") + ",discard", keep)
    assert disk.abilities == Ability.WRITE_ZEROES
    disk.close()


def test_what_was_never_written_is_other_content_with_discard(spec):
    assert content("block", f"{spec},discard") not in ("", content("block", spec))
    assert content("block", f"{spec},discard=off") == content("block", spec)


def test_a_read_only_disk_stays_one(spec, keep):
    disk = opened(spec.replace("a.img", "a.img,readonly"), keep)
    assert disk.readonly
    assert Ability.WRITE_ZEROES not in disk.abilities
    disk.close()


def test_it_claims_the_key_and_what_is_below(spec, tmp_path):
    key, image = tmp_path / "key", tmp_path / "a.img"
    assert list(claims("block", spec)) == [Claim(key, False), Claim(image, True)]


def test_another_key_is_another_content(spec, tmp_path):
    below = content("block", f"file:path={tmp_path}/a.img")
    first = content("block", spec)
    assert first == f"encrypt({hashlib.sha256(KEY).hexdigest()[:16]},{below})"
    (tmp_path / "key").write_bytes(KEY[::-1])
    assert content("block", spec) not in ("", first)
    (tmp_path / "key").unlink()
    assert content("block", spec) == ""


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (None, "does not exist: make one with 'head -c 64 /dev/urandom > {path}'"),
        (
            b"",
            "has 0 bytes, not 64 (AES-256-XTS) or 32 (AES-128-XTS): name the right one, "
            "or make one with 'head -c 64 /dev/urandom > new.key'",
        ),
        (KEY + b"\n", "has 65 bytes, not 64"),
        (KEY[:48], "has 48 bytes, not 64"),
        (KEY[:32] * 2, "both halves of the key are the same"),
        ("fifo", "is no file"),
        ("folder", "is no file"),
    ],
)
def test_a_key_of_no_use_is_refused(spec, keep, tmp_path, key, words):
    path = tmp_path / "key"
    path.unlink()
    if key == "fifo":
        os.mkfifo(path)
    elif key == "folder":
        path.mkdir()
    elif key is not None:
        path.write_bytes(key)
    with pytest.raises(DriverError) as refusal:
        make("block", spec, keep)
    assert f"key {path}" in str(refusal.value)
    assert words.format(path=path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert path.exists() == (f"> {path}" not in str(refusal.value))


def test_only_who_opens_it_imports_the_cipher(spec):
    code = (
        "import sys; from drivers.registry import check, claims, content;"
        f"spec = {spec!r}; check('block', spec); claims('block', spec); content('block', spec);"
        "assert 'drivers.block_encrypt' in sys.modules; assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_qemu_reads_what_we_wrote_and_we_what_it_wrote(spec, keep, tmp_path):
    """LUKS has the same sectors, behind a header that hides their key."""
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is not installed (Debian: qemu-utils)")
    luks, raw, word = tmp_path / "luks.img", tmp_path / "a.img", tmp_path / "word"
    word.write_bytes(b"word")

    def qemu_io(command):
        secret = ["--object", f"secret,id=s,file={word}"]
        options = f"driver=luks,file.filename={luks},key-secret=s"
        call = ["qemu-io", *secret, "--image-opts", options, "-c", command]
        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        assert "failed" not in said, said

    header = luks_header(b"word", keep, tmp_path)
    luks.write_bytes(header + raw.read_bytes())
    qemu_io("write -P 0x5a 64k 4k")
    raw.write_bytes(luks.read_bytes()[len(header) :])
    disk = opened(spec, keep)
    assert read(disk, 65536, 4096) == b"\x5a" * 4096
    disk.write(512 * 1025, memoryview(b"\x33" * 8192))
    disk.close()
    luks.write_bytes(header + raw.read_bytes())
    qemu_io("read -P 0x33 524800 8k")
    qemu_io("read -P 0x5a 64k 4k")


STRIPES, ROUNDS, SLOT, PAYLOAD = 4000, 1000, 504, 8 + 8 * 504  # the last two in sectors


def luks_header(word, keep, folder):
    """All that stands before the data of a LUKS1 image whose key is KEY, open to the pass word."""
    salt = bytes(range(32))
    digest = hashlib.pbkdf2_hmac("sha256", KEY, salt, ROUNDS, 20)
    names = (b"aes", b"xts-plain64", b"sha256")
    start = struct.pack(">6sH32s32s32sII", b"LUKS\xba\xbe", 1, *names, PAYLOAD, len(KEY))
    start += struct.pack(
        ">20s32sI40s", digest, salt, ROUNDS, b"01234567-89ab-cdef-0123-456789abcdef"
    )
    for slot in range(8):
        state = 0xDEAD if slot else 0xAC71F3
        start += struct.pack(">II32sII", state, ROUNDS, salt, 8 + slot * SLOT, STRIPES)
    (folder / "slot.key").write_bytes(hashlib.pbkdf2_hmac("sha256", word, salt, ROUNDS, len(KEY)))
    (folder / "slot.img").write_bytes(bytes(STRIPES * len(KEY)))
    slot = opened(f"encrypt:key={folder}/slot.key,child=(file:path={folder}/slot.img)", keep)
    slot.write(0, memoryview(split(KEY)))
    slot.close()
    return (start.ljust(8 * 512, b"\0") + (folder / "slot.img").read_bytes()).ljust(
        PAYLOAD * 512, b"\0"
    )


def split(key):
    """A key in as many stripes as it takes to read it: LUKS' anti-forensic splitter."""
    stripes, state = [], bytes(len(key))
    chance = random.Random(9)
    for _ in range(STRIPES - 1):
        stripes.append(chance.randbytes(len(key)))
        mixed = xor(state, stripes[-1])
        state = b"".join(
            hashlib.sha256(struct.pack(">I", at // 32) + mixed[at : at + 32]).digest()
            for at in range(0, len(key), 32)
        )
    return b"".join([*stripes, xor(state, key)])


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
