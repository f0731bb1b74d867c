"""The device-independent half of virtio 1.2: MMIO transport and split virtqueues, without I/O."""
