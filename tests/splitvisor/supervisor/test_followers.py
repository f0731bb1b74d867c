"""One stream out of two, for each who follows."""

import threading

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.supervisor.followers import ROOM, Follower, Followers

SERVICE = operator.ServiceEvent(service="io")


def of_core(number):
    return operator.MachineEvent(core=core.Event(count=number))


def test_all_that_follow_are_told():
    followers = Followers()
    with followers.follow() as one, followers.follow() as other:
        followers.publish(SERVICE)
        one.put(of_core(7), wait=True)
        one.close()
        other.close()
        assert [message.WhichOneof("body") for message in one] == ["service", "core"]
        assert [message.WhichOneof("body") for message in other] == ["service"]


def test_who_has_gone_is_told_nothing():
    followers = Followers()
    with followers.follow() as gone:
        pass
    followers.publish(SERVICE)
    assert list(gone) == []
    assert not gone.put(of_core(1), wait=True)


def test_whoever_can_wait_waits_for_room_and_nothing_is_lost():
    follower, put = Follower(), []

    def fill():
        for number in range(ROOM + 5):
            put.append(follower.put(of_core(number), wait=True))
        follower.close()

    filler = threading.Thread(target=fill)
    filler.start()
    heard = [message.core.count for message in follower]
    filler.join()
    assert heard == list(range(ROOM + 5))


def test_the_supervisor_never_waits():
    follower = Follower()
    for _ in range(ROOM + 5):
        follower.put(operator.MachineEvent(service=SERVICE), wait=False)
    follower.close()
    assert len(list(follower)) == ROOM + 5


def test_a_follower_that_leaves_lets_go_of_who_waits_for_room():
    follower = Follower()
    for number in range(ROOM):
        follower.put(of_core(number), wait=True)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(follower.put(of_core(1), wait=True)))
    waiting.start()
    follower.close()
    waiting.join()
    assert answers == [False]
