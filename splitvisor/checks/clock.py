"""The rate of the host's time-stamp counter, which guests see too and cannot find out.

Python has no word for the instruction, so eight of its bytes are put into a page and called.
"""

import ctypes
import mmap
import time

_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret


def cycles_per_second(span: float = 0.05) -> int:
    """Counted over `span` seconds of the monotonic clock; right to some 0.1 percent."""
    with mmap.mmap(
        -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ) as page:
        page.write(_RDTSC)
        place = ctypes.c_char.from_buffer(page)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))
        begun, first = time.perf_counter_ns(), read()
        while (ended := time.perf_counter_ns()) - begun < span * 1e9:
            pass
        last = read()
        del place
    return int((last - first) * 1e9 / (ended - begun))
