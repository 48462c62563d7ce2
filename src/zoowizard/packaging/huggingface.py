"""The model card that Hugging Face shows, as bioimageio.spec makes it, with its pictures.

bioimageio.spec's `push_to_hub` puts the card at the top of a repository and the package into the folder `package`; from
there `huggingface/OWNER/NAME` is loaded by name.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

from zoowizard.errors import ZoowizardError
from zoowizard.library.clean import trust_github_users

CARD: Final = "README.md"
_HEADER: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_BROKEN_PICTURE: Final = re.compile(r"^( +)(?=\w+ sample\]\(images/)", re.MULTILINE)
"""bioimageio.spec 0.5.12.0 leaves out the beginning of the link to the picture of an output."""
_UNTESTED: Final = (
    "> **Not tested.** This package did not pass its tests, or was not tested; its author uploads it all the same.\n"
)


def write_card(package: Path, repository: str, tested: bool, folder: Path) -> list[str]:
    """Write the card of a package for a repository (`OWNER/NAME`) into `folder`, with its pictures; gives their paths.

    The same package gives the same card. Raises ZoowizardError where the package cannot be described.
    """
    from bioimageio.spec import InvalidDescr, load_description
    from bioimageio.spec._hf_card import create_huggingface_model_card
    from bioimageio.spec.model.v0_5 import ModelDescr

    trust_github_users(package)
    model = load_description(package, perform_io_checks=False)
    if isinstance(model, InvalidDescr) or not isinstance(model, ModelDescr):
        raise ZoowizardError(f"{package} describes no model of format 0.5; `zoowizard test` says what is wrong")
    try:
        card, pictures = create_huggingface_model_card(model, repo_id=repository)
    except (OSError, ValueError, KeyError) as problem:
        raise ZoowizardError(f"{package}: a file that its description names is missing or damaged") from problem
    files = {CARD: _mended(card, repository, model.version, tested).encode(), **pictures}
    for name, content in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ZoowizardError(f"{package}: its description names a file {name!r}, which cannot be uploaded")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return sorted(files)


def _mended(card: str, repository: str, version: object, tested: bool) -> str:
    """The card with its header in an order that stays, and the name by which this repository can be loaded."""
    card = card.replace(f"huggingface/{repository}/{version or 'draft'}", f"huggingface/{repository}")
    card = _BROKEN_PICTURE.sub(r"\1![", card)
    match = _HEADER.match(card)
    if match is None:
        raise ZoowizardError(
            "the model card has no header; the installed bioimageio.spec is not the one that was tried"
        )
    header = yaml.safe_load(match[1])
    header["tags"] = sorted(header["tags"])
    text = yaml.safe_dump(header, allow_unicode=True, sort_keys=False, width=1000)
    return f"---\n{text}---\n{'' if tested else _UNTESTED}\n{card[match.end() :].lstrip()}"
