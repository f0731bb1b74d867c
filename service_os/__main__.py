"""The service OS: `python -m service_os --name NAME --epoch N --listen PATH --grants PATH`.

A standby is started after every death, on CPUs that guests want, and what it has in memory takes
time to reap. So it imports no more than serving needs.
"""

import sys

from service_os.later import postpone

postpone("asyncio", "grpc.aio", "google.protobuf.internal.python_message", "inspect")

from service_os.process import main  # noqa: E402  # only now, see above

if __name__ == "__main__":
    sys.exit(main())
