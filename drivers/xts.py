"""AES-XTS over sectors of 512 bytes (IEEE 1619), each tweaked by its number: what Linux's dm-crypt
calls aes-xts-plain64.

XTS keeps what is on the disk from who reads it. It does not notice what was changed there, and who
sees two states of a disk sees which blocks of 16 bytes differ.

Each sector has a cipher context of its own, which takes most of the time. All sectors of a request
in one call of AES-ECB, with the tweaks multiplied out in Python, are not done twice as fast.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

SECTOR = 512
_TWEAK = 16  # bytes


class Xts:
    """One key of 64 (AES-256) or 32 bytes (AES-128), whose halves differ; or ValueError."""

    def __init__(self, key: bytes) -> None:
        if key[: len(key) // 2] == key[len(key) // 2 :]:
            raise ValueError("both halves of the key are the same")
        self._key = AES(key)

    def encrypt(self, sector: int, plain: memoryview, into: memoryview) -> None:
        """Whole sectors, the first of which has this number; the buffers do not overlap."""
        for at in range(0, len(plain), SECTOR):
            context: CipherContext = self._cipher(sector).encryptor()
            context.update_into(plain[at : at + SECTOR], into[at : at + SECTOR])
            sector += 1

    def decrypt(self, sector: int, secret: memoryview, into: memoryview) -> None:
        """The way back."""
        for at in range(0, len(secret), SECTOR):
            context: CipherContext = self._cipher(sector).decryptor()
            context.update_into(secret[at : at + SECTOR], into[at : at + SECTOR])
            sector += 1

    def _cipher(self, sector: int) -> Cipher[XTS]:
        return Cipher(self._key, XTS(sector.to_bytes(_TWEAK, "little")))
