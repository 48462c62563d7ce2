"""The report: what the tests said of a package, weight format by weight format, for people and for programs."""

import math
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from zoowizard.agreement import Agreement, in_words
from zoowizard.atomic import write_json, write_text
from zoowizard.errors import ZoowizardError

if TYPE_CHECKING:
    from zoowizard.conversion.converted import Difference
    from zoowizard.packaging.matching import Parity
    from zoowizard.packaging.tools import ToolReport

Status = Literal["passed", "failed"]
WIDTH: Final = 100


@dataclass(frozen=True)
class Drift:
    """How far a weight format's output is from the package's test output.

    `max_abs` in the output's own unit, `mismatched_per_million` the elements beyond the tolerances.
    """

    max_abs: float
    mismatched_per_million: float


@dataclass(frozen=True)
class FormatReport:
    """The tests of one weight format: batch sizes, image sizes (y, x) tried, seconds, plain sentences.

    `status` is None before the tests: the card goes into the package that is tested, so it cannot tell their result.
    """

    weight_format: str
    status: Status | None
    batches: tuple[int, ...] = ()
    sizes: tuple[tuple[int, ...], ...] = ()
    drift: Drift | None = None
    seconds: float = 0.0
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tolerances:
    """What the package allows: |difference| <= absolute + relative * |expected|, but for some elements."""

    relative: float
    absolute: float
    mismatched_elements_per_million: float


@dataclass(frozen=True)
class ZooRun:
    """The tests with the versions of the zoo's runner. `not_tested` says why there are none, without a full stop."""

    formats: tuple[FormatReport, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    not_tested: str = ""

    @property
    def passed(self) -> bool:
        """Whether something was tested there, and nothing failed."""
        return any(one.status == "passed" for one in self.formats) and not self.failed

    @property
    def failed(self) -> str:
        """Why it did not pass there; empty where it did, or where nothing was tested."""
        return "; ".join(error for one in self.formats if one.status == "failed" for error in one.errors)


@dataclass(frozen=True)
class Report:
    """All that the tests said of one package. `created` is a UTC time as ISO 8601; `steps` are (name, seconds).

    `not_measured` says why there is neither `parity` of labels nor `agreement` of values where the native framework
    could not be asked. `zoo` is None where the versions of the zoo's runner were not asked for; `tools` says where the
    package will run.
    """

    package: str
    created: str
    formats: tuple[FormatReport, ...]
    parity: "Parity | None" = None
    tolerances: Tolerances | None = None
    steps: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    differences: "tuple[Difference, ...]" = ()
    not_measured: str = ""
    agreement: Agreement | None = None
    zoo: ZooRun | None = None
    tools: "tuple[ToolReport, ...]" = ()

    @property
    def status(self) -> Status:
        """`passed` only where a weight format was tested and every one passed, here and in the zoo's versions."""
        there = () if self.zoo is None else tuple(one for one in self.zoo.formats if one.status is not None)
        tested = (*self.formats, *there)
        return "passed" if tested and all(one.status == "passed" for one in tested) else "failed"


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; a number that is not finite becomes null."""
    plain = asdict(report)
    head = {"package": plain.pop("package"), "status": report.status}
    plain["steps"] = [{"name": name, "seconds": seconds} for name, seconds in report.steps]
    if report.zoo is not None:
        plain["zoo"]["passed"] = None if report.zoo.not_tested else report.zoo.passed
    answer: dict[str, Any] = _json({**head, **plain})
    return answer


def to_markdown(report: Report) -> str:
    """The report as Markdown that reads well in a terminal, too: lines of at most 100 characters."""
    parts = [
        "# Test report",
        f"{one_line(report.package)}: **{report.status}**, {one_line(report.created)}",
        "\n".join(f"- {one_line(note)}" for note in report.notes),
        "## Weight formats",
        _formats_table(report.formats) if report.formats else "No weight format was tested.",
        *_details(report.formats),
    ]
    if report.zoo is not None:
        parts = [*(parts if report.formats else parts[:3]), *_zoo_parts(report.zoo)]
    if report.tolerances is not None:
        allowed = report.tolerances
        parts.append(
            f"Tolerances: relative {allowed.relative:g}, absolute {allowed.absolute:g}, "
            f"{allowed.mismatched_elements_per_million:g} mismatched elements per million."
        )
    if report.parity is not None or report.not_measured:
        parts.append("## Parity with the native framework")
    if report.parity is not None:
        parts += [parity_sentence(report.parity), _parity_table(report.parity)]
    elif report.not_measured:
        parts.append(not_measured_sentence(report.not_measured))
    if report.agreement is not None:
        parts += ["## Agreement with the native framework", agreement_sentence(report.agreement)]
    if report.differences:
        lines = [f"- {what}: {found}" for what, found in map(difference_cells, report.differences)]
        parts += ["## Differences from the native framework", "\n".join(lines)]
    if report.tools:
        parts += ["## Where it will run", NOT_TRIED, *_tools_parts(report.tools)]
    if report.steps:
        parts += ["## Steps", _table(("step", "seconds"), [(name, f"{seconds:.1f}") for name, seconds in report.steps])]
    if report.environment:
        parts += ["## Environment", _table(("software", "version"), list(report.environment.items()))]
    wrapped = (
        part if part.startswith("|") else "\n".join(_wrapped(line) for line in part.splitlines()) for part in parts
    )
    return "\n\n".join(part for part in wrapped if part) + "\n"


def write(report: Report, folder: Path, mode: int = 0o600) -> tuple[Path, Path]:
    """Save report.json and report.md in `folder` (made where missing) with the permissions `mode`; gives their paths.

    Raises ZoowizardError where that fails.
    """
    as_json, as_markdown = folder / "report.json", folder / "report.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(as_json, to_json(report))
        write_text(as_markdown, to_markdown(report))
        for path in (as_json, as_markdown):
            path.chmod(mode)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise ZoowizardError(f"could not save the report to {folder}: {reason}") from problem
    return as_json, as_markdown


def parity_sentence(parity: "Parity") -> str:
    """Say in words how far the package agrees with the native framework."""
    pixels = f"{percent(parity['identical_pixels'])} of the pixels are identical"
    images = f"{parity['images']} image" + ("s" if parity["images"] != 1 else "")
    if parity["mean_iou"] is None:
        return f"On {images}, neither found an instance; {pixels}."
    alone = sum(one["n_true"] + one["n_pred"] - 2 * one["n_matched"] for one in parity["per_image"])
    if alone == 0:
        matching = "every instance has its match"
    else:
        matching = "1 instance has no match" if alone == 1 else f"{alone} instances have no match"
    return f"On {images}, the mean IoU of matched instances is {ratio(parity['mean_iou'])}, {matching}, and {pixels}."


def agreement_sentence(agreement: Agreement) -> str:
    """Say in words how far the values of the package are from those of the native framework."""
    if agreement["apart"] == 0:
        return f"The package gives {in_words(agreement)}."
    return (
        f"The values of the package are {in_words(agreement)}: the spread is the standard deviation of what the "
        "framework gives, and this is the largest difference of any value."
    )


def ratio_or_none(value: float | None) -> str:
    """A ratio, `none` where there was no instance to measure it."""
    return "none" if value is None else ratio(value)


def not_measured_sentence(reason: str) -> str:
    """Say that nothing is known, and why."""
    return f"Not measured: {reason.rstrip('.')}."


def difference_cells(one: "Difference") -> tuple[str, str]:
    """What differs, and how much at most of how much is allowed, where it is bounded."""
    allowed = f" (allowed: {one.allowed:g})" if math.isfinite(one.allowed) else ""
    return one.what, f"{one.value:.3g}{allowed}"


def ratio(value: float) -> str:
    """Write a number between 0 and 1 with four digits, never rounded up to 1."""
    return "1" if value == 1 else f"{min(math.floor(value * 1e4) / 1e4, 0.9999):.4f}"


def percent(share: float) -> str:
    """Write a share as a percentage with three digits, never rounded up to 100 %."""
    return "100 %" if share == 1 else f"{min(math.floor(share * 1e5) / 1e3, 99.999):.3f} %"


def one_line(text: object) -> str:
    """`text` on one line, without control characters and without those that turn the direction of writing."""
    spaced = " ".join(str(text).split())
    return "".join(one for one in spaced if unicodedata.category(one) not in ("Cc", "Cs") and one not in _TURNS)


_TURNS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _formats_table(formats: Sequence[FormatReport]) -> str:
    rows = [
        (
            one.weight_format,
            one.status or "not tested",
            f"{one.drift.max_abs:.3g}" if one.drift else "not measured",
            f"{one.drift.mismatched_per_million:.4g}" if one.drift else "not measured",
            f"{one.seconds:.1f}",
        )
        for one in formats
    ]
    return _table(("weights", "result", "largest difference", "mismatched per million", "seconds"), rows)


def _details(formats: Sequence[FormatReport]) -> list[str]:
    """What the library warned of each weight format once, as it is about the description; then the formats."""
    common = [text for text in formats[0].warnings if all(text in one.warnings for one in formats)] if formats else []
    warned = "\n".join(f"- warning: {one_line(text)}" for text in common)
    return [warned, *(_details_of(one, common) for one in formats)]


def _details_of(one: FormatReport, told: Sequence[str]) -> str:
    lines = []
    if one.sizes:
        lines.append(f"- image sizes tested: {', '.join(' x '.join(map(str, size)) for size in one.sizes)}")
    if one.batches:
        lines.append(f"- batch sizes tested: {', '.join(map(str, one.batches))}")
    lines += [f"- error: {one_line(error)}" for error in one.errors]
    lines += [f"- warning: {one_line(warning)}" for warning in one.warnings if warning not in told]
    return "\n".join([f"### {one_line(one.weight_format)}", *lines]) if lines else ""


def _zoo_parts(zoo: ZooRun) -> list[str]:
    heading = "## In the versions of the zoo's runner"
    if zoo.not_tested:
        return [heading, f"Not tested in the zoo's versions: {zoo.not_tested.rstrip('.')}."]
    return [
        heading,
        _formats_table(zoo.formats),
        *_details(zoo.formats),
        ", ".join(f"{name} {version}" for name, version in zoo.environment.items()) + ".",
    ]


NOT_TRIED: Final = (
    "As the tools document it, in the versions named, and not tried but where that is said. "
    "Unknown means that it may run, with what is said to be looked at."
)


def _tools_parts(tools: "Sequence[ToolReport]") -> list[str]:
    lines = []
    for one in tools:
        help_ = f" What would help: {one.remedy}." if one.remedy else ""
        lines.append(f"- {one.tool}: {one.why or 'nothing speaks against it'}.{help_} Read of {one.read}: {one.source}")
    rows = [(one.tool, one.runs, one.weights or "none") for one in tools]
    return [_table(("tool", "runs there", "weights"), rows), "\n".join(lines)]


def _parity_table(parity: "Parity") -> str:
    rows = [
        (
            str(number),
            ratio_or_none(one["mean_iou"]),
            ratio_or_none(one["ap90"]),
            percent(one["identical_pixels"]),
            str(one["n_true"]),
            str(one["n_pred"]),
            str(one["n_matched"]),
        )
        for number, one in enumerate(parity["per_image"], start=1)
    ]
    header = ("image", "mean IoU", "AP 0.9", "identical pixels", "native instances", "package instances", "matched")
    return _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; where it is too wide for a terminal, what does not fit is cut."""
    cells = [[_cell(cell, WIDTH) for cell in row] for row in rows]
    if sum(_widths([header, *cells])) + 3 * len(header) + 1 > WIDTH:
        room = (WIDTH - 1) // len(header) - 3
        cells = [[_cell(cell, max(room, len(title))) for cell, title in zip(row, header, strict=True)] for row in cells]
    widths = _widths([header, *cells])
    lines = [list(header), ["-" * width for width in widths], *cells]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _cell(text: str, room: int) -> str:
    plain = one_line(text).replace("|", "/")
    return plain if len(plain) <= room else plain[: room - 1] + "…"


def _wrapped(line: str) -> str:
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(one_line(line), WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, (list, tuple)) else value
