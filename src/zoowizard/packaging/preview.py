"""The model card before there is a package, or as it stands in one: `python -m zoowizard.packaging.preview`.

Reads JSON from standard input: `values` (a draft's bare values by name) and `family` (its name), or `package` (the path
of a zip, or of a folder). Writes Markdown to standard output, or one sentence to standard error.
"""

import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.families.family import draws_labels
from zoowizard.families.registry import family as named
from zoowizard.packaging.card import Validation, model_card
from zoowizard.packaging.settings import own_questions

CARD: Final = "README.md"
BIGGEST: Final = 1_000_000
"""Bytes; a hundred times what a card has."""
NOT_TESTED: Final = (
    "This is a preview. Nothing was built or tested yet: the agreement with the native framework, the reproducibility "
    "and the tensors will stand here when it was."
)


def preview(values: Mapping[str, Any], family: str = "") -> str:
    """The card as the answers make it, which says that nothing was tested yet."""
    if not family:
        return model_card(values, Validation(notes=(NOT_TESTED,)))
    validation = Validation(notes=(NOT_TESTED,), gives_labels=draws_labels(named(family), values))
    return model_card(values, validation, settings=own_questions(family, values))


def card_of(package: Path) -> str:
    """The card in a package. Raises ZoowizardError where there is none."""
    try:
        if package.is_dir():
            path = package / CARD
            size, content = path.stat().st_size, path.read_bytes() if path.stat().st_size <= BIGGEST else b""
        else:
            with zipfile.ZipFile(package) as archive:
                size = archive.getinfo(CARD).file_size
                with archive.open(CARD) as file:
                    content = file.read(BIGGEST + 1)
    except KeyError as problem:
        raise ZoowizardError(f"{package.name}: there is no {CARD} in it, so no card to show") from problem
    except OSError as problem:
        raise ZoowizardError(f"{package.name}: {(problem.strerror or str(problem)).lower()}") from problem
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as problem:
        raise ZoowizardError(f"{package.name}: is no zip that can be read ({problem})") from problem
    if size > BIGGEST or len(content) > BIGGEST:
        raise ZoowizardError(f"{package.name}: its {CARD} is too big to be shown ({size // 1000} kB)")
    return content.decode("utf-8", errors="replace")


def for_a_terminal(card: str) -> str:
    """Pictures in words: a terminal shows none."""
    return re.sub(r"!\[([^\]\n]*)\]\([^)\n]*\)", r"(picture: \1)", card)


def main() -> int:
    """Answer what was asked on standard input; gives the exit code."""
    try:
        asked = json.loads(sys.stdin.buffer.read() or b"{}")
        if asked.get("package"):
            card = card_of(Path(asked["package"]))
        else:
            card = preview(asked.get("values") or {}, asked.get("family") or "")
    except ZoowizardError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except (ValueError, AttributeError, TypeError) as problem:
        sys.stderr.write(f"the card cannot be shown: {problem}\n")
        return 1
    sys.stdout.buffer.write(for_a_terminal(card).encode("utf-8", errors="replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
