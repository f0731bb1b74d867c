"""The service OS: `python -m service_os --name NAME --epoch N --listen PATH --grants PATH`.

A standby is started after every death, on CPUs that guests want, and what it has in memory takes
time to reap. So it imports no more than serving needs; and what is imported stays, so that looking
through it for garbage is a waste.
"""

import gc
import sys

from service_os.later import postpone

gc.disable()
postpone("asyncio", "grpc.aio", "google.protobuf.internal.python_message", "inspect")

from service_os.process import main  # noqa: E402  # only now, see above

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
