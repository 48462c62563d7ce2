"""What the step Upload says of a package, from the situation and the zip's own list of files."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from textual.content import Content

from zoowizard.agreement import apart_of, rounded_up
from zoowizard.board.markdown import cut, padded, width_of
from zoowizard.drafts.completeness import completeness
from zoowizard.jobs.state import Job
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation
from zoowizard.terminal import printable
from zoowizard.upload.target import Parcel

MOST_FILES: Final = 40
WIDE: Final = 70


@dataclass(frozen=True)
class Contents:
    """What the zip holds: names and sizes in bytes; or the sentence that says why it cannot be read."""

    files: tuple[tuple[str, int], ...] = ()
    size: int = 0
    problem: str = ""


def read_contents(archive: Path) -> Contents:
    """Read the list of files in a package; none of them is unpacked. Waits for the disk."""
    try:
        with zipfile.ZipFile(archive) as opened:
            files = tuple((entry.filename, entry.file_size) for entry in opened.infolist() if not entry.is_dir())
        return Contents(files, archive.stat().st_size)
    except FileNotFoundError:
        return Contents(problem="the package is not there any more; build it again")
    except OSError as problem:
        return Contents(problem=f"the package cannot be read ({(problem.strerror or str(problem)).lower()})")
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return Contents(problem="the package is damaged; build it again")


def parcel_of(built: Job | None) -> Parcel | None:
    """What can be sent of a build that passed; None where it left no package or does not say its hash."""
    outcome = (built.outcome or {}) if built is not None else {}
    package, report, digest = (outcome.get(name) for name in ("package", "report", "sha256"))
    if not isinstance(package, str) or not isinstance(report, str) or not isinstance(digest, str):
        return None
    return Parcel(Path(package), Path(report), digest)


def why_not(situation: Situation) -> str:
    """What is missing before anything can be sent; empty where nothing is."""
    if situation.built is None:
        if situation.job is not None and not situation.job.over:
            return "The package is being tested. What passes its tests can be saved and uploaded here."
        return "There is no package yet: it is made and tested in the step Test."
    if parcel_of(situation.built) is None:
        return "The package was made by an older version, which did not write down its hash. Build it again."
    return ""


def what_is_sent(situation: Situation, contents: Contents, width: int) -> Content:
    """Name, licence, size, formats, hash; and the checks in a line."""
    draft, built = situation.draft, situation.built
    outcome: dict[str, Any] = (built.outcome or {}) if built is not None else {}
    values = situation.built_from or {}
    name = _one_line(str(values.get("name") or (draft.id if draft else "")))
    facts = [
        _one_line(str(values.get("license") or "no licence")),
        readable(contents.size or int(outcome.get("size") or 0)),
        ", ".join(map(str, outcome.get("formats") or ())),
        f"sha256 {str(outcome.get('sha256') or '')[:12]}",
    ]
    lines = [
        Content.styled(cut(name, width), "bold"),
        Content(cut(_one_line(" · ".join(fact for fact in facts if fact)), width)),
        _checks(situation, outcome),
    ]
    if situation.outdated:
        words = "Answers were changed since this package was built. Build it again, or save it as it is."
        lines.append(Content.styled(f"{GLYPHS.warning} {words}", "$text-warning"))
    return Content("\n").join(lines)


def _checks(situation: Situation, outcome: dict[str, Any]) -> Content:
    parts: list[tuple[str, str]] = []
    if situation.draft is not None:
        answered, of = completeness_of_built(situation)
        parts.append((f"{GLYPHS.done} metadata {answered}/{of}", "$text-success"))
    parts.append((f"{GLYPHS.done} tests passed", "$text-success"))
    parity = outcome.get("parity")
    if isinstance(parity, dict):
        same = parity.get("identical_pixels")
        iou = parity.get("mean_iou")
        exact = same == 1
        words = "predicts the same" if exact else f"IoU {iou:.4f}" if isinstance(iou, float) else "compared"
        parts.append((f"{GLYPHS.done} {words}", "$text-success"))
    elif (apart := apart_of(outcome.get("agreement"))) is not None:
        words = f"within {rounded_up(apart)} of the spread" if apart else "predicts the same"
        parts.append((f"{GLYPHS.done} {words}", "$text-success"))
    elif outcome.get("not_measured"):
        parts.append((f"{GLYPHS.warning} agreement not measured", "$text-warning"))
    warnings = len(outcome.get("warnings") or ())
    if warnings:
        parts.append((f"{GLYPHS.warning} {warnings} warning{'s' if warnings > 1 else ''}", "$text-warning"))
    return Content("   ").join(Content.styled(text, style) for text, style in parts)


def completeness_of_built(situation: Situation) -> tuple[int, int]:
    """How many of the wanted answers there are. Files count as answered where they are named: the build read them."""
    fields = [replace(one, check=lambda answer: None) if one.kind == "path" else one for one in situation.fields]
    assert situation.draft is not None
    return completeness(situation.draft, fields)


def file_list(contents: Contents, width: int) -> Content:
    """The files of the package, in two columns where there is room."""
    if contents.problem:
        return Content.styled(f"{GLYPHS.failed} {contents.problem}", "$text-error")
    if not contents.files:
        return Content("")
    heading = Content.styled(f"In the package: {len(contents.files)} files", "bold")
    return Content("\n").join([heading, *(Content(line) for line in _columns(contents.files, width))])


def _columns(files: Sequence[tuple[str, int]], width: int) -> Iterator[str]:
    shown = files[:MOST_FILES]
    columns = 2 if width >= WIDE else 1
    room = max(12, (width - 2 * columns) // columns)
    cells = [_cell(name, size, room) for name, size in shown]
    rows = -(-len(cells) // columns)
    for row in range(rows):
        yield "  " + "  ".join(cells[row::rows])
    if len(files) > len(shown):
        yield f"  and {len(files) - len(shown)} more"


def _cell(name: str, size: int, room: int) -> str:
    amount = readable(size)
    kept = cut(_one_line(name), room - 11)
    return padded(kept, room - 11) + " " * max(1, 10 - width_of(amount)) + amount


def readable(size_bytes: int) -> str:
    """A size for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
