"""Mistakes in network cards and in the switch between them."""

from tests.sensitivity.checkers import Suite
from tests.sensitivity.plant import Bug, Edit

MODEL = "service_os.models.net"
SWITCHING = "drivers.switching"
FRAMES = "tests/service_os/models/test_net.py"
PORTS = "tests/drivers/test_switching.py"
NO_FRAMES = "no guest of the simulator or of a scenario has a network card"

BUGS = (
    Bug(
        "frame-truncated",
        "a frame longer than the guest's buffers is dropped: instead its beginning is handed out",
        (
            Edit(
                MODEL,
                "NetModel.receive",
                """self.dropped["too long for the guest's buffers"] += 1""",
                "area[: HEADER.size] = _BARE\n"
                "            area[HEADER.size :] = frame[: len(area) - HEADER.size]\n"
                "            self._take(len(area))",
            ),
        ),
        Suite(
            f"{FRAMES}::test_a_frame_that_is_too_long_is_dropped_and_the_buffer_used_for_the_next",
            NO_FRAMES,
        ),
        r"FAILED \S+::test_a_frame_that_is_too_long_is_dropped_and_the_buffer_used_for_the_next",
    ),
    Bug(
        "buffers-miscounted",
        "the header says in how many buffers a frame lies: instead that it lies in one",
        (Edit(MODEL, "NetModel._spread", "0, 0, 0, 0, 0, 0, count", "0, 0, 0, 0, 0, 0, 1"),),
        Suite(f"{FRAMES}::test_mergeable_buffers_take_a_frame_in_parts", NO_FRAMES),
        r"FAILED \S+::test_mergeable_buffers_take_a_frame_in_parts",
    ),
    Bug(
        "address-stays",
        "who moves is found at the new port: instead frames go where the address was first seen",
        (
            Edit(
                SWITCHING,
                "Switch._learn",
                "known = port.known",
                "known = port.known\n"
                "    if self._where.get(address, port) is not port:\n"
                "        return",
            ),
        ),
        Suite(f"{PORTS}::test_who_moves_is_found_at_the_new_port", NO_FRAMES),
        r"FAILED \S+::test_who_moves_is_found_at_the_new_port",
    ),
    Bug(
        "flooded-back",
        "a frame never goes back to its port: instead one for all does",
        (
            Edit(
                SWITCHING,
                "Switch._concerned",
                "for port in self._ports if port is not source and port.has(vlan)",
                "for port in self._ports if port.has(vlan)",
            ),
        ),
        Suite(f"{PORTS}::test_groups_go_to_all_others", NO_FRAMES),
        r"FAILED \S+::test_groups_go_to_all_others",
    ),
    Bug(
        "vlan-left",
        "a frame stays in its VLAN: instead one for all goes to every port",
        (
            Edit(
                SWITCHING,
                "Switch._concerned",
                "port is not source and port.has(vlan)]",
                "port is not source]",
            ),
        ),
        Suite(f"{PORTS}::test_vlans_do_not_hear_each_other", NO_FRAMES),
        r"FAILED \S+::test_vlans_do_not_hear_each_other",
    ),
)
