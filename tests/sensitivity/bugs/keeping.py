"""Mistakes in how service OSes are watched, ended and told apart."""

from tests.sensitivity.checkers import Machines, Suite
from tests.sensitivity.plant import Bug, Edit

CHILD = "splitvisor.supervisor.child"
SERVICE = "sessions.service"
FAILED = r"FAILED tests/\S+::test_"

BUGS = (
    Bug(
        "leader-alone-killed",
        "the whole process group is killed and reaped: instead its leader alone",
        (
            Edit(CHILD, "Child._kill_group", "os.killpg(self.pid, signal.SIGKILL)", "pass"),
            Edit(CHILD, "Child._reap", "os.waitpid(-self.pid,", "os.waitpid(self.pid,"),
        ),
        Machines("helped"),
        r"the guest says: FAIL .*|the disk: \d+ wrong|left over: process",
    ),
    Bug(
        "heartbeats-count",
        "who completes nothing is replaced: instead who is alive is left alone",
        (Edit("control.progress", "Stall.look", "reached != self._reached", "True"),),
        Machines("hung"),
        r"a recovery: not within",
    ),
    Bug(
        "arrival-missed",
        "the core looks once more before it sleeps: instead it does not",
        (
            Edit(
                "microhypervisor.virtio.virtqueue",
                "Virtqueue.listen",
                "return self.pending",
                "return False",
            ),
        ),
        Suite(
            "tests/microhypervisor/virtio/test_virtqueue.py",
            "the moment between looking and listening is shorter than any step",
        ),
        FAILED,
    ),
    Bug(
        "any-standby-promoted",
        "the core begins with the incarnation that it is told of: instead with whoever stands by",
        (Edit(SERVICE, "Service._promote", "ready.epoch == endpoint.epoch", "True"),),
        Suite(
            "tests/sessions/test_service.py",
            "a supervisor that is right never has two that could take over",
        ),
        FAILED,
    ),
    Bug(
        "old-stream-open",
        "what an old incarnation still says is not heard: instead its stream stays open",
        (
            Edit("sessions.attachment", "Attachment.leave", "self.active.leave()", "pass"),
            Edit(SERVICE, "Service.connect", "[a.active, a.standby, ", "[a.standby, "),
        ),
        Suite(
            "tests/sessions/test_service.py::test_a_device_on_its_way_to_a_dead_incarnation"
            "_fails_and_the_next_serves_the_others",
            "a supervisor that is right has reaped it before, and its stream is broken",
        ),
        FAILED,
    ),
    Bug(
        "failing-for-ever",
        "a device that failed in an outage works again after it: instead it goes on failing",
        (
            Edit(
                SERVICE,
                "Service.connect",
                "if a.name not in endpoint.withheld]",
                "if not (a.failing or a.name in endpoint.withheld)]",
            ),
        ),
        Suite(
            "tests/sessions/test_service_failing.py::"
            "test_what_is_in_flight_and_what_comes_fails_until_somebody_serves",
            "an outage that is long enough for a policy is too long for a scenario",
        ),
        FAILED,
    ),
    Bug(
        "upgrade-without-drain",
        "an upgrade waits for what is in flight: instead it takes the devices at once",
        (Edit(SERVICE, "Service.release", "drain(serving, patience_ms, deadline)", "pass"),),
        Suite(
            "tests/sessions/test_service_release.py::"
            "test_what_is_in_flight_is_waited_for_and_what_comes_waits",
            "what was not waited for is replayed, and the guest sees no difference",
        ),
        FAILED,
    ),
    Bug(
        "impostor-served",
        "a service OS serves who has its token: instead anybody",
        (
            Edit(
                "service_os.session",
                "Sessions.check_token",
                "not hmac.compare_digest(token.encode(), self._token)",
                "False",
            ),
        ),
        Suite(
            "tests/service_os/test_session.py::"
            "test_an_attach_that_cannot_be_is_refused_in_one_line",
            "no fault makes an impostor",
        ),
        FAILED,
    ),
)
