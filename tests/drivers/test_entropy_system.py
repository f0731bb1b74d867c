from drivers.entropy_system import SystemEntropy


def test_bytes_fill_the_whole_buffer_and_do_not_repeat():
    source = SystemEntropy(SystemEntropy.Options())
    buffers = [bytearray(1000) for _ in range(2)]
    for buffer in buffers:
        source.fill(memoryview(buffer))
    source.close()
    assert buffers[0] != buffers[1]
    assert any(buffers[0][-32:])  # a run of 32 zeros is not seen in a lifetime
