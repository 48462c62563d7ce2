"""The command `delete`."""

import argparse
import sys

from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse


def delete(given: argparse.Namespace) -> int:
    """Move a model into the trash of the workspace."""
    from zoowizard.deletion import delete_model
    from zoowizard.drafts.store import id_of

    workspace = workspace_of(given)
    model = id_of(workspace, given.model)
    if not given.yes:
        if not sys.stdin.isatty():
            raise WrongUse("delete: say --yes, since nobody can be asked here")
        question = f"delete the model {model} with its answers, jobs and packages? y or n"
        print(printable_lines(question), end=" ", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing was deleted", file=sys.stderr)
            return ExitCode.FAILED
    place = delete_model(workspace, model)
    if given.json:
        print_json({"model": model, "trash": str(place)})
    else:
        print(printable_lines(str(place)))
    print(
        printable_lines(
            f"{model} lies there until `zoowizard jobs clean` finds it 30 days old; to have it again, move that folder "
            f"to {workspace.folder(model)}. Its checkpoint stays, and so does what was uploaded."
        ),
        file=sys.stderr,
    )
    return ExitCode.DONE
