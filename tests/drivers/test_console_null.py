from drivers.interface import Keep
from drivers.registry import make


def test_it_takes_everything_and_gives_nothing(tmp_path):
    console = make("console", "null", Keep(tmp_path / "k"))
    got = []
    console.start(got.append, 0)
    console.write(b"anything", console.origin)
    console.close()
    assert got == []
    assert list(tmp_path.iterdir()) == []
