"""The command `splitvisor`: its commands, and how what goes wrong is told.

Mistakes of the user's, click's complaints among them, are one line on standard error and exit
status 2. A traceback is a bug of ours and nothing else.
"""

import sys
from pathlib import Path

import click

from splitvisor.cli.demo import demo
from splitvisor.cli.ps import ps
from splitvisor.cli.run import run
from splitvisor.cli.service import service
from splitvisor.cli.status import INTERRUPTED, MACHINE_FAILED, MISTAKE
from splitvisor.cli.stop import stop
from splitvisor.cli.up import up
from splitvisor.errors import UserError
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.run_directory import default_root


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="splitvisor", message="splitvisor %(version)s")
@click.option(
    "--run-root",
    type=click.Path(path_type=Path, file_okay=False),
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
      splitvisor service kill                         kill the drivers; the guests will not notice
    """
    context.obj = run_root or default_root()


for command in (run, up, ps, stop, service, demo):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    try:
        status = cli.main(arguments, prog_name="splitvisor", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return MISTAKE
    except click.ClickException as error:
        return _complain(error.format_message(), MISTAKE)
    except UserError as error:
        return _complain(str(error), MISTAKE)
    except MachineError as error:
        return _complain(str(error), MACHINE_FAILED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _complain(problem: str, status: int) -> int:
    print("splitvisor:", " ".join(problem.split()), file=sys.stderr)
    return status
