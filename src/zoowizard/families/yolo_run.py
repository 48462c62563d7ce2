"""What an Ultralytics run leaves beside its checkpoint: args.yaml, results.csv, TensorBoard events, data.yaml."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.families.family import Warning
from zoowizard.families.pickles import opened, printable
from zoowizard.families.tfevents import read_scalars

Curves = Mapping[str, Sequence[float | None]]
"""Series name → one value an epoch; `epoch` and `time` (cumulative seconds) among them."""

LARGEST_YAML: Final = 1 << 20
LARGEST_CSV: Final = 16 << 20
_PICTURES: Final = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
_MOST_PICTURES: Final = 100_000


@dataclass(frozen=True)
class RunFiles:
    """Which files of a run are there. `others` are further checkpoints, such as last.pt beside best.pt."""

    folder: Path
    checkpoint: Path | None
    others: tuple[Path, ...]
    args: Path | None
    results: Path | None
    events: tuple[Path, ...]


def find_run(path: Path) -> RunFiles | None:
    """The run that `path` (a run folder, its `weights` folder, or a .pt in either) belongs to; None where it is none.

    A folder is a run where it holds an args.yaml, or weights/best.pt or last.pt, or a results.csv beside a best.pt.
    """
    if path.is_dir():
        folder = path.parent if path.name == "weights" and _is_run(path.parent) else path
        return _run_files(folder, None) if _is_run(folder) else None
    folder = path.parent.parent if path.parent.name == "weights" else path.parent
    return _run_files(folder, path) if _is_run(folder) else RunFiles(path.parent, path, (), None, None, ())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_run(folder: Path) -> bool:
    if any(_is_file(folder / "weights" / name) for name in ("best.pt", "last.pt")):
        return True
    results = _is_file(folder / "results.csv")
    if results and any(_is_file(folder / name) for name in ("best.pt", "last.pt")):
        return True
    return _is_file(folder / "args.yaml") and (results or "task" in _quietly(folder / "args.yaml"))


def _quietly(path: Path) -> Mapping[Any, Any]:
    try:
        return read_yaml(path)
    except ZoowizardError:
        return {"task": None}


def _run_files(folder: Path, asked: Path | None) -> RunFiles:
    found = [one for place in (folder / "weights", folder) for one in sorted(_listed(place)) if one.suffix == ".pt"]
    found.sort(key=lambda one: {"best.pt": 0, "last.pt": 1}.get(one.name, 2))
    chosen = asked or next(iter(found), None)
    args, results = folder / "args.yaml", folder / "results.csv"
    return RunFiles(
        folder,
        chosen,
        tuple(one for one in found if one != chosen),
        args if _is_file(args) else None,
        results if _is_file(results) else None,
        tuple(sorted(one for one in _listed(folder) if one.name.startswith("events.out.tfevents."))),
    )


def _listed(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_file())
    except OSError:
        return


def read_yaml(path: Path) -> dict[Any, Any]:
    """A YAML mapping, by the safe loader. Raises ZoowizardError with a sentence that names the file."""
    import yaml

    from zoowizard import plain_yaml

    name = printable(path.name)
    with opened(path) as file:
        raw = file.read(LARGEST_YAML + 1)
    if len(raw) > LARGEST_YAML:
        raise ZoowizardError(f"{name} is over 1 MB, far more than training writes; it is not read.")
    try:
        told = plain_yaml.load(raw)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, UnicodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise ZoowizardError(f"{name} is no valid YAML{where}; copy it again from the run.") from None
    if not isinstance(told, dict):
        raise ZoowizardError(f"{name} holds no `key: value` lines; copy it again from the run.")
    return told


def read_results(path: Path) -> tuple[Curves, list[Warning]]:
    """The columns of a results.csv of any version, by name, and what was wrong with it.

    A header that comes again (a resumed training) is passed over, a line that is not whole too. An epoch that comes
    again counts as it came last. Raises ZoowizardError where the file cannot be read.
    """
    with opened(path) as file:
        text = file.read(LARGEST_CSV).decode("utf-8-sig", "replace")
    header: list[str] = []
    rows: list[dict[str, float]] = []
    broken: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if cells[0] == "epoch":
            header = cells
        elif any(cells):
            row = _numbers(header, cells)
            if row is None:
                broken.append(number)
            else:
                rows.append(row)
    warnings = []
    if broken:
        lines = ", ".join(str(number) for number in broken[:5])
        message = f"{path.name} has {len(broken)} broken line(s) (line {lines}); they are left out."
        warnings.append(Warning("damaged-results", message))
    elif not rows:
        warnings.append(Warning("damaged-results", f"{path.name} holds no epochs."))
    return _columns(rows), warnings


def _numbers(header: Sequence[str], cells: Sequence[str]) -> dict[str, float] | None:
    if not header or len(cells) != len(header):
        return None
    try:
        return {name: float(cell) if cell else math.nan for name, cell in zip(header, cells, strict=True)}
    except ValueError:
        return None


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """Rows to columns, one value an epoch, in the order of the epochs, counted from 1 (the first versions: from 0)."""
    by_epoch = {int(row["epoch"]): row for row in rows if math.isfinite(row.get("epoch", math.nan))}
    names = list(dict.fromkeys(name for row in rows for name in row if name))
    ordered = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    columns = {name: [finite(row.get(name)) for row in ordered] for name in names}
    if by_epoch:
        shift = 1 if min(by_epoch) == 0 else 0
        columns["epoch"] = [epoch + shift for epoch in sorted(by_epoch)]
    return columns


def finite(number: Any) -> float | None:
    """The number, or None where it is none, NaN or infinite."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    return number if math.isfinite(number) else None


def curves_of_events(paths: Sequence[Path]) -> Curves:
    """The same columns out of TensorBoard event files; {} where they hold none.

    Ultralytics writes one point more, at epochs + 1, for the best weights validated at the end: it is left out.
    """
    merged: dict[str, dict[int, float]] = {}
    for path in paths:
        try:
            for name, points in read_scalars(path).items():
                merged.setdefault(name, {}).update(points)
        except ZoowizardError:
            continue
    trained = [set(points) for name, points in merged.items() if name.startswith("train/") and name.endswith("_loss")]
    epochs = sorted(set().union(*trained)) if trained else []
    rows = [
        {"epoch": epoch, **{name: points.get(epoch, math.nan) for name, points in merged.items()}} for epoch in epochs
    ]
    return _columns(rows)


def find_data(told: Any, folder: Path) -> Path | None:
    """The data.yaml that the run was trained on, where it is on this machine: as told, or beside the run."""
    places = [folder / "data.yaml", folder.parent / "data.yaml"]
    if isinstance(told, str) and told.endswith((".yaml", ".yml")) and not told.startswith(("//", "\\\\")):
        places.insert(0, folder / told)
    for place in places:
        try:
            if place.is_file():
                return place
        except (OSError, ValueError):
            continue
    return None


def find_picture(data: Mapping[Any, Any], place: Path) -> Path | None:
    """The first validation image that a data.yaml at `place` leads to, one with objects in it where labels tell."""
    root = data.get("path")
    base = place.parent / root if isinstance(root, str) else place.parent
    val = data.get("val")
    for told in val if isinstance(val, list) else [val]:
        if not isinstance(told, str) or told.startswith(("//", "\\\\")):
            continue
        try:
            pictures = _pictures(base / told)
            labelled = next((one for one in pictures if _has_objects(one)), None)
        except (OSError, ValueError):
            continue
        if pictures:
            return (labelled or pictures[0]).resolve()
    return None


def _pictures(place: Path) -> list[Path]:
    if place.is_dir():
        listed = (one for one, _ in zip(_listed(place), range(_MOST_PICTURES), strict=False))
        return sorted(one for one in listed if one.suffix.lower() in _PICTURES)
    if place.suffix == ".txt" and place.is_file() and place.stat().st_size < LARGEST_CSV:
        lines = place.read_text("utf-8", "replace").splitlines()[:1000]
        named = (place.parent / line.strip() for line in lines if line.strip())
        return [one for one in named if one.suffix.lower() in _PICTURES and one.is_file()]
    return []


def _has_objects(picture: Path) -> bool:
    parts = ["labels" if part == "images" else part for part in picture.parts]
    label = Path(*parts).with_suffix(".txt")
    return label.is_file() and label.stat().st_size > 0
