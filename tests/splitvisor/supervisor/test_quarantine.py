"""Who is to blame."""

from splitvisor.supervisor.quarantine import MARKS, SUSPICIOUS, Quarantine


def test_suspicion_comes_with_deaths_in_a_row():
    quarantine = Quarantine()
    for _ in range(SUSPICIOUS):
        assert not quarantine.suspicious
        quarantine.died_undone()
    assert quarantine.suspicious
    quarantine.all_replayed()
    assert not quarantine.suspicious


def test_the_last_of_the_marks_decides():
    quarantine = Quarantine()
    assert [bool(quarantine.blame("a/b")) for _ in range(MARKS)] == [False] * (MARKS - 1) + [True]
    assert list(quarantine.reasons) == ["a/b"]
    assert quarantine.release("a/b")
    assert not quarantine.release("a/b")
    assert quarantine.reasons == {}


def test_marks_of_a_device_that_came_through_are_forgotten():
    quarantine = Quarantine()
    for forget in (lambda: quarantine.replayed("a/b"), quarantine.all_replayed):
        for _ in range(MARKS - 1):
            quarantine.blame("a/b")
        forget()
    assert not quarantine.blame("a/b")


def test_marks_are_each_devices_own():
    quarantine = Quarantine()
    for device in ("a/b", "a/c") * (MARKS - 1):
        assert not quarantine.blame(device)


def test_what_a_guest_left_is_forgotten_with_it():
    quarantine = Quarantine()
    for device in ("a/b", "a/b", "a/b", "a/c", "a/c", "ab/c", "ab/c"):
        quarantine.blame(device)
    assert quarantine.gone("a") == ["a/b"]
    assert quarantine.reasons == {}
    assert [bool(quarantine.blame(device)) for device in ("a/c", "ab/c")] == [False, True]
