"""A 16550A at eight ports, without the wire: what Linux' 8250 driver finds to be a 16550A.

The wire is infinitely fast: a byte written to the transmitter has left at once, so the transmitter
is always empty, and the line rate is kept but means nothing. Input waits in one queue that stands
for wire and receive FIFO alike: clearing the FIFO clears nothing, since what waits could as well
still be on the wire, and only what the guest sends itself in loopback can overrun it. Registers,
queue and output position are the state, which travels with the accesses that change it. Positions
are the driver's, as in console.py.

Register names are those of the National Semiconductor PC16550D data sheet.
"""

import struct

from protos.io_pb2 import Request
from service_os.models.base import Done, Shape

SLOTS = 64
PORTS = 8

# Offsets from the first port; the first two are the divisor latch while LCR_DLAB is set.
RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(PORTS)
DLL, DLM = 0, 1

IER_RDA, IER_THRE, IER_RLS, IER_MASK = 0x01, 0x02, 0x04, 0x0F
IIR_NONE, IIR_THRE, IIR_RDA, IIR_RLS, IIR_FIFO = 0x01, 0x02, 0x04, 0x06, 0xC0
FCR_ENABLE, FCR_KEPT = 0x01, 0xC9
LCR_DLAB = 0x80
MCR_LOOP, MCR_MASK = 0x10, 0x1F
LSR_DR, LSR_OE = 0x01, 0x02
LSR_EMPTY = 0x60  # the transmitter's holding and shift registers
MSR_CONNECTED = 0xB0  # DCD, DSR, CTS: somebody is there

STATE = struct.Struct("<B8B??Q8s")  # version, registers, flags, position, driver; input follows
VERSION = 2
FIFO_BYTES = 16
INPUT_BYTES = 4096  # as for the console: what nobody reads stays with its source
END_OF_INPUT = b"\x04"

# A guest without interrupts waits for input by reading LSR over and over. Who only transmits reads
# it once a byte, and probing drivers less often, so this many in a row mean that it waits.
POLLS = 4


class UartModel:
    """One UART. `origin` and `word` as of ConsoleModel."""

    shape = Shape(device_id=0, slots=SLOTS)

    def __init__(self, state: bytes, origin: int, word: bytes = bytes(8)) -> None:
        self.interrupt = False
        self.listening = False
        self._polls = 0
        self._output = bytearray()
        self._input = bytearray()
        self._ended = False
        self._thre = False  # the transmitter asks for an interrupt
        self._overrun = False
        self._position = origin
        self._word = word
        self._ier = self._fcr = self._lcr = self._mcr = self._scr = 0
        self._dll, self._dlm = 1, 0  # 115200 baud
        if state:
            self._restore(state)

    @property
    def hungry(self) -> bool:
        """See Evented."""
        return len(self._input) < INPUT_BYTES

    def submit(self, request: Request, readable: memoryview, writable: memoryview) -> list[Done]:
        """See Evented. Only single bytes at the eight ports mean anything."""
        access = request.access
        if access.size != 1 or access.offset >= PORTS:
            return [Done(request, value=(1 << 8 * min(access.size, 4)) - 1)]
        if access.write:
            self._write(access.offset, access.value & 0xFF)
            return [Done(request)]
        return [Done(request, value=self._read(access.offset))]

    def receive(self, data: bytes) -> list[Done]:
        """See Evented."""
        if not data and not self._ended:
            self._ended = True
            data = END_OF_INPUT
        self._arrive(data)
        return []

    def reset(self) -> list[Done]:
        """See Evented; nothing is ever held."""
        return []

    def take_output(self) -> tuple[bytes, int]:
        """See Evented."""
        data, position = bytes(self._output), self._position
        self._output.clear()
        self._position += len(data)
        return data, position

    def state(self) -> bytes:
        """See Evented."""
        control = (self._ier, self._fcr, self._lcr, self._mcr, self._scr)
        registers = (*control, self._dll, self._dlm, LSR_OE if self._overrun else 0)
        rest = (self._thre, self._ended, self._position, self._word)
        return STATE.pack(VERSION, *registers, *rest) + self._input

    def _restore(self, state: bytes) -> None:
        if len(state) < STATE.size or state[0] != VERSION:
            raise ValueError(f"not a UART's state of version {VERSION}")
        _, *registers, self._thre, self._ended, position, before = STATE.unpack_from(state)
        self._position = position if before == self._word else self._position
        self._ier, self._fcr, self._lcr, self._mcr, self._scr, self._dll, self._dlm, lsr = registers
        self._overrun = bool(lsr & LSR_OE)
        self._input += state[STATE.size :]
        self.listening = bool(self._ier & IER_RDA)

    def _read(self, offset: int) -> int:
        self._polls = self._polls + 1 if offset == LSR else 0
        self.listening = self.listening or self._polls >= POLLS
        if offset in (DLL, DLM) and self._lcr & LCR_DLAB:
            return self._dlm if offset == DLM else self._dll
        if offset == RBR_THR:
            return self._take()
        if offset == IIR_FCR:
            return self._identify()
        if offset == LSR:
            overrun, self._overrun = self._overrun, False
            return LSR_EMPTY | (LSR_DR if self._input else 0) | (LSR_OE if overrun else 0)
        if offset == MSR:
            return self._modem_status()
        return {IER: self._ier, LCR: self._lcr, MCR: self._mcr, SCR: self._scr}[offset]

    def _write(self, offset: int, value: int) -> None:
        self._polls = 0
        if offset in (DLL, DLM) and self._lcr & LCR_DLAB:
            if offset == DLM:
                self._dlm = value
            else:
                self._dll = value
        elif offset == RBR_THR:
            self._transmit(value)
        elif offset == IER:
            self._enable(value & IER_MASK)
        elif offset == IIR_FCR:
            self._fcr = value & FCR_KEPT if value & FCR_ENABLE else 0
        elif offset == LCR:
            self._lcr = value
        elif offset == MCR:
            self._mcr = value & MCR_MASK
        elif offset == SCR:
            self._scr = value

    def _transmit(self, value: int) -> None:
        if self._mcr & MCR_LOOP and len(self._input) < FIFO_BYTES:
            self._arrive(bytes((value,)))
        elif self._mcr & MCR_LOOP:
            self._overrun = True
            self.interrupt = self.interrupt or bool(self._ier & IER_RLS)
        else:
            self._output.append(value)
        self._ask_for_more()

    def _enable(self, wanted: int) -> None:
        risen = wanted & ~self._ier
        self._ier = wanted
        if wanted & IER_RDA:
            self.listening = True
        if risen & IER_RDA and self._input:
            self.interrupt = True
        if risen & IER_RLS and self._overrun:
            self.interrupt = True
        if risen & IER_THRE:
            self._ask_for_more()
        if not wanted & IER_THRE:
            self._thre = False

    def _ask_for_more(self) -> None:
        if self._ier & IER_THRE:
            self._thre = True
            self.interrupt = True

    def _arrive(self, data: bytes) -> None:
        self._input += data
        if data and self._ier & IER_RDA:
            self.interrupt = True

    def _take(self) -> int:
        return self._input.pop(0) if self._input else 0

    def _identify(self) -> int:
        """IIR: the most urgent cause. Reading it acknowledges the transmitter's."""
        fifo = IIR_FIFO if self._fcr & FCR_ENABLE else 0
        if self._overrun and self._ier & IER_RLS:
            return fifo | IIR_RLS
        if self._input and self._ier & IER_RDA:
            return fifo | IIR_RDA
        if self._thre:
            self._thre = False
            return fifo | IIR_THRE
        return fifo | IIR_NONE

    def _modem_status(self) -> int:
        if not self._mcr & MCR_LOOP:
            return MSR_CONNECTED
        # Looped back: RTS, DTR, OUT1, OUT2 come in as CTS, DSR, RI, DCD.
        rts, dtr, outs = self._mcr >> 1 & 1, self._mcr & 1, self._mcr >> 2 & 3
        return rts << 4 | dtr << 5 | outs << 6
