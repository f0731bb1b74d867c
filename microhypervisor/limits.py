"""Every limit of the core that is not a rule of virtio, with its reason."""

MAX_VCPUS = 64  # per guest; each is a thread, and APIC ids must fit the 8-bit xAPIC with room
MAX_DEVICES = 64  # per guest; each is two threads, a stream and a window
MAX_QUEUES = 16  # per device; the largest kind in use needs a handful
MAX_QUEUE_SIZE = 1024  # what common drivers take at most; bounds the window and the log

# What a descriptor chain may carry. Stock drivers stay at or below 4 MiB; without a bound, one
# chain of overlapping descriptors could ask the core to copy a thousand times the guest's RAM.
MAX_CHAIN_BYTES = 16 << 20

MAX_SLOTS = 1024  # of all queues of a device together; the window is laid out for as many

MAX_HEADER = 256  # leading bytes of a request that the log keeps; virtio's own need at most 52

# A slot's part of the grant window. Sparse, so that only what was used costs memory; a larger
# request travels inline.
SLOT_STRIDE = (1 << 20) + (64 << 10)

MAX_BATCH = 256  # requests in one message, so that a long backlog does not delay its first answer
MAX_BATCH_INLINE = 8 << 20  # inlined bytes in one message
MAX_MESSAGE = 64 << 20  # a batch of one inlined chain of the largest size, and overhead

MAX_CONTROL = 64  # messages waiting besides requests; a guest's config writes beyond vanish
MAX_STATE = 1 << 20  # what a device may ask the core to keep for its next incarnation
MAX_CHUNK = 2 << 20  # of guest memory in one LoadGuest message

ATTACH_TIMEOUT_S = 10.0  # a service OS that has not answered Attach by then has failed
DRAIN_TIMEOUT_S = 5.0  # an ended guest's last output may take this long; then it is given up
OUTAGE_GRACE_S = 1.0  # of that time, what nobody serves just now may wait for the next to serve it
MAX_NAME = 64  # of a guest; it becomes part of other names
EVENT_BACKLOG = 4096  # events kept for a watcher that does not read
EVENT_BURST = 16  # of what a guest can cause again and again, by device; then
EVENT_EVERY_S = 1.0  # one in that time, or it would hide what matters from those who watch
SLICE_NS = 10_000_000  # a vCPU's turn when others wait for its pCPU, unless somebody says more
MIN_SLICE_NS = 500_000  # a switch costs about 200 us: below this, more than it gives
SWITCH_NS = 200_000  # what entering and leaving a guest takes; added to what is reserved for it
WATCH_NS = 2_000_000  # between looks at vCPUs whose halts only the kernel sees
