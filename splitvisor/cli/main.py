"""The command `splitvisor`: its commands, and how what goes wrong is told.

Mistakes of the user's, click's complaints among them, are one line on standard error and exit
status 2; so is a file or folder that the system will not let us have. Standard output that takes
nothing more is no mistake in what was asked for: status 126. A traceback is a bug of ours and
nothing else.
"""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from drivers import registry
from splitvisor.cli.balloon import balloon
from splitvisor.cli.chaos import chaos
from splitvisor.cli.demo import demo
from splitvisor.cli.driver import driver
from splitvisor.cli.events import events
from splitvisor.cli.fault import fault
from splitvisor.cli.overlay import overlay
from splitvisor.cli.paths import GivenPath
from splitvisor.cli.ps import ps
from splitvisor.cli.run import run
from splitvisor.cli.sched import sched
from splitvisor.cli.service import service
from splitvisor.cli.simulate_schedule import simulate_schedule
from splitvisor.cli.status import INTERRUPTED, MACHINE_FAILED, MISTAKE
from splitvisor.cli.stop import stop
from splitvisor.cli.up import up
from splitvisor.errors import UserError
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.run_directory import default_root
from splitvisor.trial_import import problem_of_import

_STDOUT = 1
# Without a file's name these come from a stream that was open before us.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_CURES = {
    errno.EACCES: "use a place that you may write to, or change its permissions",
    errno.EPERM: "use a place that you may write to, or change its permissions",
    errno.EROFS: "use a place that can be written to",
    errno.ENOSPC: "make room there, or use another place",
    errno.EDQUOT: "make room there, or use another place",
    errno.EMFILE: "allow more open files with 'ulimit -n'",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="splitvisor", message="splitvisor %(version)s")
@click.option(
    "--run-root",
    type=GivenPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where running machines keep sockets and logs. Default: $SPLITVISOR_RUN_ROOT, else "
    "$XDG_RUNTIME_DIR/splitvisor, else /tmp/splitvisor-UID.",
)
@click.pass_context
def cli(context: click.Context, run_root: Path | None) -> None:
    """Run guests on a microhypervisor whose device drivers live in a process that may die.

    \b
    Examples:
      splitvisor demo                                 the main job, live
      splitvisor run build/guests/hello               one guest on this terminal
      splitvisor run build/guests/blockcheck --disk file:path=disk.img -- depth=32
      splitvisor up machine.toml                      several guests from a file
      splitvisor ps                                   what runs, and what serves it
      splitvisor sched set /web --weight 512          give a guest twice the default share
      splitvisor service kill                         kill the drivers; the guests will not notice
      splitvisor service upgrade                      replace them by those installed now
      splitvisor driver swap web/disk0 SPEC           or one of them by another
      splitvisor fault hang --device web/disk0        or have one misbehave
      splitvisor events                               what happens, as it happens
    """
    context.obj = run_root or default_root()


for command in (
    *(run, up, ps, stop, sched, balloon, events, service, fault),
    *(driver, overlay, demo, chaos, simulate_schedule),
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    registry.try_first(problem_of_import)
    try:
        status = cli.main(arguments, prog_name="splitvisor", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return MISTAKE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "splitvisor"
        return _complain(f"{error.format_message()} See '{where} --help'.", MISTAKE)
    except click.ClickException as error:
        return _complain(error.format_message(), MISTAKE)
    except UserError as error:
        return _complain(str(error), MISTAKE)
    except MachineError as error:
        return _complain(str(error), MACHINE_FAILED)
    except OSError as error:
        if error.filename is None and error.errno in _OUTPUT_ERRORS:
            return _complain(_output_problem() or _unwritable(error), MACHINE_FAILED)
        if error.filename is None:
            raise
        cure = _CURES.get(error.errno or 0, "see that it is there and may be used")
        return _complain(f"{os.fsdecode(error.filename)}: {error.strerror}: {cure}", MISTAKE)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    if problem := _output_problem():
        return _complain(problem, MACHINE_FAILED)
    return status if isinstance(status, int) else 0


def _output_problem() -> str:
    """Why what was printed cannot be written; nothing if all of it was.

    What is left is thrown away, or the interpreter would try again at its end and complain.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, _STDOUT)
        os.close(nowhere)
        return _unwritable(error)
    return ""


def _unwritable(error: OSError) -> str:
    return f"standard output cannot be written: {error.strerror}: send it elsewhere"


def _complain(problem: str, status: int) -> int:
    with suppress(BrokenPipeError):
        print("splitvisor:", " ".join(problem.split()), file=sys.stderr)
    return status
