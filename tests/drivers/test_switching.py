import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from drivers import switching
from drivers.switching import ADDRESSES, AGEING, Port, Switch, join, leave

ALL = b"\xff" * 6


def mac(number):
    return b"\x52" + number.to_bytes(5, "big")


def frame(to, source, rest=b"\x08\x00hello"):
    return memoryview(to + source + rest)


def tag(vlan, priority=0):
    return b"\x81\x00" + (priority << 13 | vlan).to_bytes(2, "big")


class Lan:
    """A switch, ports that note what they get, and a clock that is set."""

    def __init__(self, *ports):
        self.now = 0.0
        self.switch = Switch(lambda: self.now)
        self.got = []
        self.ports = []
        for port in ports:
            self.plug(port)

    def plug(self, port):
        heard = []
        port.deliver = heard.extend
        self.got.append(heard)
        self.ports.append(port)
        self.switch.join(port)

    def send(self, at, *frames):
        """Which ports got what."""
        for heard in self.got:
            heard.clear()
        self.switch.forward(self.ports[at], frames)
        return {n: [bytes(f) for f in heard] for n, heard in enumerate(self.got) if heard}


def test_what_is_not_known_goes_to_all_others_and_what_is_to_one():
    lan = Lan(Port(), Port(), Port())
    there, back = frame(mac(2), mac(1)), frame(mac(1), mac(2))
    assert lan.send(0, there) == {1: [there], 2: [there]}
    assert lan.send(1, back) == {0: [back]}
    assert lan.send(0, there) == {1: [there]}


def test_groups_go_to_all_others():
    lan = Lan(Port(), Port(), Port())
    for to in (ALL, b"\x01\x00\x5e\x00\x00\x01"):
        hello = frame(to, mac(1))
        assert lan.send(0, hello) == {1: [hello], 2: [hello]}


def test_a_frame_to_a_neighbour_on_the_same_port_goes_nowhere():
    lan = Lan(Port(), Port())
    lan.send(0, frame(ALL, mac(1)), frame(ALL, mac(2)))
    assert lan.send(0, frame(mac(1), mac(2))) == {}


def test_who_moves_is_found_at_the_new_port():
    lan = Lan(Port(), Port(), Port())
    lan.send(0, frame(ALL, mac(1)))
    lan.send(1, frame(ALL, mac(1)))
    hello = frame(mac(1), mac(2))
    assert lan.send(2, hello) == {1: [hello]}


def test_addresses_are_forgotten_after_a_while():
    lan = Lan(Port(), Port(), Port())
    lan.send(0, frame(ALL, mac(1)))
    lan.now = AGEING - 1
    hello = frame(mac(1), mac(2))
    assert lan.send(1, hello) == {0: [hello]}
    lan.now = AGEING
    assert lan.send(1, hello) == {0: [hello], 2: [hello]}


def test_who_makes_addresses_up_floods_their_own_frames_and_nobody_elses():
    lan = Lan(Port(), Port(), Port())
    lan.send(1, frame(ALL, mac(1)))
    lan.send(0, *(frame(ALL, mac(100 + n)) for n in range(2 * ADDRESSES)))
    hello = frame(mac(1), mac(2))
    assert lan.send(2, hello) == {1: [hello]}
    one_too_many = frame(mac(100 + ADDRESSES), mac(1))
    assert lan.send(1, one_too_many) == {0: [one_too_many], 2: [one_too_many]}
    lan.now = AGEING
    lan.send(0, frame(ALL, mac(100 + ADDRESSES)))
    assert lan.send(1, one_too_many) == {0: [one_too_many]}


def test_a_port_that_leaves_takes_what_was_known_of_it_along():
    lan = Lan(Port(), Port(), Port())
    lan.send(0, frame(ALL, mac(1)))
    assert lan.switch.leave(lan.ports[0])
    hello = frame(mac(1), mac(2))
    assert lan.send(1, hello) == {2: [hello]}


def test_vlans_do_not_hear_each_other():
    lan = Lan(Port(5), Port(6), Port(5))
    hello = frame(ALL, mac(1))
    assert lan.send(0, hello) == {2: [hello]}
    lan.send(1, frame(ALL, mac(1)))  # the same address, elsewhere
    back = frame(mac(1), mac(2))
    assert lan.send(2, back) == {0: [back]}


def test_a_trunk_has_all_vlans_and_tags_what_is_not_its_own():
    lan = Lan(Port(5), Port(1, trunk=True), Port(1))
    assert lan.send(0, frame(ALL, mac(1), b"\x08\x00abc")) == {
        1: [ALL + mac(1) + tag(5) + b"\x08\x00abc"]
    }
    assert lan.send(2, frame(ALL, mac(2), b"\x08\x00abc")) == {1: [ALL + mac(2) + b"\x08\x00abc"]}
    to_five = frame(mac(1), mac(3), tag(5, priority=3) + b"\x08\x00def")
    assert lan.send(1, to_five) == {0: [mac(1) + mac(3) + b"\x08\x00def"]}
    assert lan.send(1, frame(ALL, mac(3))) == {2: [bytes(frame(ALL, mac(3)))]}


@pytest.mark.parametrize("vlan", [1, 5])
def test_tags_are_not_for_access_ports(vlan):
    lan = Lan(Port(1), Port(5), Port(trunk=True))
    assert lan.send(0, frame(ALL, mac(1), tag(vlan) + b"\x08\x00abc")) == {}


@pytest.mark.parametrize("rest", [tag(5)[:3], tag(5), tag(4095) + b"\x08\x00abc"])
def test_nonsense_is_not_for_anybody(rest):
    lan = Lan(Port(5), Port(trunk=True), Port(trunk=True))
    assert lan.send(1, frame(ALL, mac(1), rest)) == {}


def test_a_priority_without_a_vlan_is_of_the_ports_own():
    lan = Lan(Port(5), Port(5))
    sent = frame(ALL, mac(1), tag(0, priority=6) + b"\x08\x00abc")
    assert lan.send(0, sent) == {1: [ALL + mac(1) + b"\x08\x00abc"]}


def test_a_switch_is_there_as_long_as_it_has_ports():
    first, second = Port(), Port()
    switch = join("lan", first)
    assert join("lan", second) is switch
    assert join("other", Port()) is not switch
    leave("lan", first)
    assert switching._switches["lan"] is switch
    leave("lan", second)
    assert "lan" not in switching._switches
    switching._switches.clear()


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(min_size=14, max_size=40))))
def test_nothing_comes_back_and_each_port_gets_what_it_gets_in_order_and_once(sent):
    vlans = [1, 1, 2, 1]
    lan = Lan(*(Port(vlan) for vlan in vlans))
    heard = [[] for _ in vlans]
    for port, to in zip(lan.ports, heard, strict=True):
        port.deliver = to.extend
    for at, data in sent:
        lan.switch.forward(lan.ports[at], [memoryview(data)])
    for n, got in enumerate(heard):
        others = iter([d for at, d in sent if at != n and vlans[at] == vlans[n]])
        assert all(any(d == other for other in others) for d in got if d[12:14] != b"\x81\x00")


class Moving(RuleBasedStateMachine):
    """Ports come and go, addresses move and age; the table never knows what it should not."""

    def __init__(self):
        super().__init__()
        self.lan = Lan(Port(), Port())
        self.gone = set()

    @rule(at=st.integers(0, 5), to=st.integers(0, 9), source=st.integers(0, 400))
    def send(self, at, to, source):
        at %= len(self.lan.ports)
        if at not in self.gone:
            got = self.lan.send(at, frame(mac(to), mac(source)))
            assert at not in got
            assert not self.gone & got.keys()

    @rule(seconds=st.floats(0, AGEING))
    def wait(self, seconds):
        self.lan.now += seconds

    @rule()
    def plug(self):
        self.lan.plug(Port())

    @rule(at=st.integers(0, 5))
    def leave(self, at):
        at %= len(self.lan.ports)
        if at not in self.gone:
            self.gone.add(at)
            self.lan.switch.leave(self.lan.ports[at])

    @invariant()
    def the_table_is_what_the_ports_know(self):
        where = self.lan.switch._where
        known = {a: port for port in self.lan.ports for a in port.known}
        assert where == known
        assert sum(len(port.known) for port in self.lan.ports) == len(where)
        assert all(len(port.known) <= ADDRESSES for port in self.lan.ports)


TestMoving = Moving.TestCase
