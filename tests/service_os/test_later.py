"""In processes of their own: what is loaded and what is not is a matter of the whole process."""

import subprocess
import sys

import pytest


def run(text):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_module_is_loaded_at_the_first_look_into_it():
    done = run("""
import sys
from service_os.later import postpone
postpone("colorsys", "json.tool")
import colorsys, json.tool
assert "ONE_THIRD" not in vars(colorsys) and "main" not in vars(json.tool)
assert colorsys.ONE_THIRD and colorsys.rgb_to_hsv(0, 0, 0) and json.tool.main
assert type(colorsys) is type(sys)
try:
    colorsys.nothing
except AttributeError as error:
    print(error)
""")
    assert (done.stdout, done.stderr) == ("module 'colorsys' has no attribute 'nothing'\n", "")


def test_a_package_whose_parts_look_at_it_while_it_loads():
    done = run("""
from service_os.later import postpone
postpone("asyncio")
import asyncio
async def main(): await asyncio.sleep(0); print("done")
asyncio.run(main())
""")
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_threads_that_come_while_it_loads_wait(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.05)\nready = 1\n")
    done = run(f"""
import sys, threading
sys.path.insert(0, {str(tmp_path)!r})
from service_os.later import postpone
postpone("slow")
import slow
seen = []
threads = [threading.Thread(target=lambda: seen.append(slow.ready)) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(seen)
""")
    assert (done.stdout, done.stderr) == ("[1, 1, 1, 1]\n", "")


def test_what_is_loaded_or_does_not_exist_is_left_alone():
    done = run("""
import json, sys
from service_os.later import postpone
before = dict(sys.modules)
postpone("json", "nobody_has_this")
import json as again
assert sys.modules == before and again.loads("1") == 1
import nobody_has_this
""")
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'nobody_has_this'\n")


@pytest.mark.parametrize(
    "module", ["asyncio.events", "grpc.aio._channel", "trio", "email", "service_os.faults"]
)
def test_a_service_os_starts_without_what_it_does_not_need(module):
    done = run(f"""
import sys
import service_os.__main__
sys.exit({module!r} in sys.modules)
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_driver_may_use_asyncio_and_grpc_aio_all_the_same():
    done = run("""
import service_os.__main__
import asyncio, grpc, inspect
async def main():
    async with grpc.aio.insecure_channel("unix:/nonexistent") as channel:
        try:
            await channel.unary_unary("/nobody/Call")(b"")
        except grpc.aio.AioRpcError as error:
            print(error.code().name, inspect.isclass(type(error)))
asyncio.run(main())
""")
    assert (done.stdout, done.stderr) == ("UNAVAILABLE True\n", "")
