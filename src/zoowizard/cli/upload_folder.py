"""Saving a package in a folder from the command line: `zoowizard upload --to FOLDER`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zoowizard.cli.output import print_json, printable_lines
from zoowizard.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace


def save(workspace: "Workspace", given: argparse.Namespace) -> int:
    """Save a package and its report, here and now; gives the exit code."""
    from zoowizard.launch import package_to_send
    from zoowizard.upload.contents import sha256_of
    from zoowizard.upload.folder import FolderTarget
    from zoowizard.upload.package import require_passed
    from zoowizard.upload.receipts import keep, receipts
    from zoowizard.upload.target import Parcel

    if given.detach:
        raise WrongUse("upload: --detach is for what goes over the network; a folder has it at once")
    if not given.to.strip():
        raise WrongUse("upload: --to is empty; write zoo, huggingface:OWNER/NAME, or a folder")
    target = FolderTarget(Path(given.to).expanduser())
    model, package = package_to_send(workspace, given.package, target.kind)
    require_passed(package, given.insist, "it is then saved all the same")
    parcel = Parcel(package.archive, package.report, package.sha256)
    summary = target.summary(parcel)
    place = target.path_of(parcel)
    before = [] if model is None else [one.where for one in receipts(workspace, model)]
    is_ours = str(place) in before or (place.is_file() and sha256_of(place) == package.sha256)
    if place.exists() and not given.overwrite and not is_ours:
        raise WrongUse(
            f"{place} is there already, and was not saved for this model; choose another name, or say --overwrite"
        )
    for sentence in summary:
        print(printable_lines(f"{target.folder}: {sentence}"), file=sys.stderr)
    receipt = target.send(parcel, lambda fraction, words: None)
    if model is not None:
        keep(workspace, model, receipt)
    if given.json:
        print_json({"model": model, "status": "saved", "confirmed": False, **receipt.model_dump(mode="json")})
    else:
        print(printable_lines(receipt.where))
    return ExitCode.DONE
