"""A recovery machine under a script: each thing that it hears takes a millisecond."""

from splitvisor.supervisor import steps

MS = 1_000_000
DEVICES = ("web/disk0", "web/hvc0")


class Script:
    """`hear` gives the commands that follow; what was told is kept."""

    def __init__(self, machine):
        self.machine = machine
        self.now = MS
        self.actions = []

    def hear(self, event):
        self.now += MS
        actions = self.machine.handle(event, self.now)
        self.actions += actions
        return [action for action in actions if not isinstance(action, steps.Tell)]

    def wait(self):
        """Let time pass until the machine's deadline."""
        self.now = self.machine.deadline - MS
        return self.hear(steps.Tick())

    def told(self, kind):
        tells = [action.event for action in self.actions if isinstance(action, steps.Tell)]
        return [event for event in tells if isinstance(event, kind)]

    def done(self, kind):
        return [action for action in self.actions if isinstance(action, kind)]

    def reaped(self, epoch):
        return steps.Reaped(epoch, 100 + epoch, "signal 9 (SIGKILL)")

    def replayed(self, epoch, device, count):
        return steps.DeviceReplayed(epoch, device, count, self.now)

    def attach(self, epoch, devices=DEVICES):
        """The core answers, and all is replayed."""
        self.hear(steps.Connected(epoch, len(devices)))
        for device in devices:
            self.hear(steps.DeviceAttached(epoch, device))
            self.hear(self.replayed(epoch, device, 1))

    def serve(self):
        """Epoch 1 serves."""
        self.hear(steps.Begin())
        self.hear(steps.Started(1, 101))
        self.attach(1)

    def stand_by(self):
        """Epoch 2 stands by."""
        self.wait()
        self.hear(steps.Started(2, 102))
        self.hear(steps.Prepared(2, len(DEVICES)))
        self.now += 1000 * MS

    def crash(self, epoch):
        """It is killed and reaped."""
        self.hear(steps.Lost(epoch, dead=True))
        self.hear(self.reaped(epoch))
