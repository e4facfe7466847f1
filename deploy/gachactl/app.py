"""The commands of gachactl, and how their failures end.

Exit status: 0 done; 1 failed, refused, or not everything is healthy; 2 wrong usage;
3 nothing runs. A failure prints one sentence on stderr, with the remedy.
"""

import sys

import typer
from typer._click.exceptions import UsageError

from deploy.gachactl import keys, lifecycle, sagas
from deploy.gachactl.owned import logins
from deploy.gachactl.owned.reconcile import reconcile
from deploy.gachactl.target import NothingRuns
from deploy.gachactl.transactions import commands as transactions
from deploy.gachactl.transactions.report import described
from deploy.gachactl.up import up
from deploy.gachactl.upgrade import upgrade
from deploy.gachactl.usage import usage_sentence
from deploy.local.errors import LocalRunError, WrongUsage
from mesh.errors import MeshError

FAILED = 1
WRONG_USAGE = 2
NOTHING_RUNS = 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Runs a whole mesh on this machine, and operates a mesh wherever it runs. Several meshes "
    "may run side by side, each with a folder and a port of its own. Results go to stdout, as "
    "a table or, with --format json, as one JSON document with stable keys; messages and "
    "progress go to stderr. Exit status: 0 done, 1 failed or not healthy, 2 wrong usage, "
    "3 nothing runs.",
)
app.command()(up)
app.command()(lifecycle.down)
app.command()(lifecycle.status)
app.command()(lifecycle.roll)
app.command()(upgrade)
app.command()(lifecycle.renew)
app.command("rotate-keys")(keys.rotate_keys)
app.add_typer(transactions.app, name="tx")
app.add_typer(sagas.app, name="sagas")
app.add_typer(logins.app, name="logins")
app.command()(reconcile)
app.command("admin-token")(keys.admin_token)
app.command()(lifecycle.clean)


def run() -> None:
    """Runs the command that the arguments name, and exits."""
    try:
        sys.exit(app(prog_name="gachactl", standalone_mode=False))
    except UsageError as error:
        _end(WRONG_USAGE, usage_sentence(error))
    except typer.Abort:
        _end(FAILED, "Nothing was done.")
    except NothingRuns as error:
        _end(NOTHING_RUNS, str(error))
    except WrongUsage as error:
        _end(WRONG_USAGE, str(error))
    except LocalRunError as error:
        _end(FAILED, str(error))
    except MeshError as error:
        _end(FAILED, described(error))
    except OSError as error:
        if error.filename is None:
            raise
        _end(
            FAILED,
            f"{error.filename} cannot be used ({error.strerror}): repair it, or choose another "
            "folder with --folder.",
        )


def _end(status: int, sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(status)
