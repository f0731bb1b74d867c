"""Turns are handed over in order of arrival."""

import threading

from cpus.emulated.turn import Turn


def test_two_who_come_again_at_once_alternate():
    turn = Turn()
    order: list[str] = []
    both = threading.Barrier(2)

    def work(name: str) -> None:
        both.wait()
        for _ in range(200):
            with turn:
                order.append(name)

    first = threading.Thread(target=work, args=("a",))
    with turn:
        first.start()
        both.wait()
        while not turn._waiting:
            pass
        turn.give()
        turn.take()
        order.append("b")
    first.join()
    assert order.index("b") == 1
    assert len(order) == 201


def test_one_at_a_time():
    turn = Turn()
    inside = 0

    def work() -> None:
        nonlocal inside
        for _ in range(500):
            with turn:
                inside += 1
                assert inside == 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == 0
