"""Finding the device that kills a service OS, and keeping it away from it.

A poison request is replayed to each next incarnation and kills that one too, and a driver that dies
when it is opened does so each time. All devices begin at once, so a death tells nothing of who did
it: after two in a row with replays undone they begin one by one, and the core names whose turn it
was. Whoever was named three times, and never came through in between, is kept away. Somebody else's
signal can look the same, but hardly five times in a row before all is replayed.
"""

SUSPICIOUS = 2  # deaths in a row with replays undone
MARKS = 3


class Quarantine:
    """Of one service OS; devices are named `guest/device`."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}  # of those that are kept away
        self._undone = 0
        self._marks: dict[str, int] = {}

    @property
    def suspicious(self) -> bool:
        """Whether devices are to begin one by one."""
        return self._undone >= SUSPICIOUS

    def died_undone(self) -> None:
        """An incarnation died before all was replayed."""
        self._undone += 1

    def all_replayed(self) -> None:
        """An incarnation came through."""
        self._undone = 0
        self._marks.clear()

    def replayed(self, device: str) -> None:
        """A device came through."""
        self._marks.pop(device, None)

    def blame(self, device: str) -> str:
        """An incarnation was lost in a device's turn; the reason if it is kept away from now."""
        self._marks[device] = self._marks.get(device, 0) + 1
        if self._marks[device] < MARKS:
            return ""
        del self._marks[device]
        self.reasons[device] = f"the service OS was lost {MARKS} times in a row in its turn"
        return self.reasons[device]

    def gone(self, guest: str) -> list[str]:
        """The guest is no more, and another may have its name; its devices that were kept away."""
        mine = f"{guest}/"
        for device in [marked for marked in self._marks if marked.startswith(mine)]:
            del self._marks[device]
        return [d for d in list(self.reasons) if d.startswith(mine) and self.release(d)]

    def release(self, device: str) -> str:
        """Give it back; why it was kept away, "" if it was not."""
        return self.reasons.pop(device, "")
