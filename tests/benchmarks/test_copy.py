"""The benchmark of copies in short: what it copies with is right, and its rates are some."""

from dataclasses import astuple

from benchmarks.copy import by_cp, by_driver, image, under_load

SIZE = 8 << 20


def test_both_ways_make_the_same(tmp_path):
    source = image(tmp_path, "a.img", SIZE)
    for way in (by_cp, by_driver):
        target = image(tmp_path, "b.img", SIZE)
        assert target.read_bytes() != source.read_bytes()
        assert way(source, target) > 0
        assert target.read_bytes() == source.read_bytes()


def test_a_guest_goes_on_while_its_disk_is_copied():
    assert min(astuple(under_load(SIZE))) > 0
