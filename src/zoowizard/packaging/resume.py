"""What a build leaves for a later one of the same model, and taking it over where it still holds.

A build that was ended in the middle left some steps behind that need not be done again. Beside the results stands what
they were made from, and the hash of every file: only where all of that is the same, a result is taken over.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

import numpy as np
from pydantic import ValidationError

from zoowizard.agreement import Agreement
from zoowizard.atomic import write_json
from zoowizard.conversion.converted import Array, Converted, Difference, Native, TensorDescription, Weights
from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import why_not_inside
from zoowizard.jobs.locks import require_private
from zoowizard.library.archive import sha256
from zoowizard.packaging.compare import Comparison, parent_among
from zoowizard.packaging.matching import Parity
from zoowizard.packaging.origin import Origin, difference
from zoowizard.packaging.records import (
    AgreementRecord,
    DifferenceRecord,
    ParityRecord,
    Record,
    TensorRecord,
    WeightsRecord,
)
from zoowizard.packaging.report import Drift

CONVERSION: Final = "conversion.json"
COMPARED: Final = "compared.json"
PACKAGED: Final = "packaged.json"
TESTED: Final = "tested.json"
WEIGHTS_FOLDER: Final = "weights"
TENSORS_FOLDER: Final = "tensors"
SHOWN: Final = ("input", "output")


class NotKept(ZoowizardError):
    """Nothing can be taken over; the message says why. `begun` is false where there is nothing at all."""

    def __init__(self, message: str, begun: bool = True) -> None:
        super().__init__(message)
        self.begun = begun


class _Conversion(Record):
    version: Literal[1] = 1
    origin: Origin
    files: dict[str, str]
    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    weights: list[WeightsRecord]
    framework: str
    notes: list[str]
    facts: dict[str, Any]
    labels: str | None
    shown: tuple[str, ...] = ()
    elsewhere_per_million: float
    kept: list[str]
    described: dict[str, Any]
    beside: list[str]


class _Compared(Record):
    version: Literal[1] = 1
    origin: Origin
    conversion: str
    parity: ParityRecord | None
    differences: list[DifferenceRecord]
    not_measured: str
    drift: dict[str, Drift]
    kept: list[str]
    left_out: list[str]
    sizes: list[tuple[int, ...]]
    agreement: AgreementRecord | None = None


class _Packaged(Record):
    version: Literal[1] = 1
    origin: Origin
    conversion: str
    files: dict[str, str]


class _Tested(Record):
    version: Literal[1] = 1
    origin: Origin
    files: dict[str, str]


Kind = TypeVar("Kind", _Conversion, _Compared, _Packaged, _Tested)
Taken = TypeVar("Taken")


def of_first(runs: Sequence[Path], take: Callable[[Path], Taken]) -> Taken:
    """What `take` takes over from the first of these runs that has it. Raises NotKept where none has."""
    why = NotKept("there is no run before", begun=False)
    for run in runs:
        try:
            return take(run)
        except NotKept as problem:
            why = why if why.begun else problem
    raise why


def keep_conversion(folder: Path, converted: Converted, made_from: Origin) -> None:
    """Write down in the job's `folder` what was converted; its weights are in the folder's `weights` already.

    Raises OSError or ZoowizardError where the disk is full.
    """
    (folder / TENSORS_FOLDER).mkdir(exist_ok=True)
    inputs, outputs = ([_kept(one, folder) for one in tensors] for tensors in (converted.inputs, converted.outputs))
    weights = [
        WeightsRecord(
            weight_format=one.weight_format,
            file=f"{WEIGHTS_FOLDER}/{one.path.name}",
            entry=dict(one.entry),
            parent=one.parent,
            beside=[f"{WEIGHTS_FOLDER}/{path.name}" for path in one.files],
        )
        for one in converted.weights
    ]
    labels = None if converted.labels is None else _saved(converted.labels, "labels", folder)
    shown = [_saved(one, f"shown-{part}", folder) for part, one in zip(SHOWN, converted.shown or (), strict=False)]
    tensors = [name for one in (*inputs, *outputs) for name in (one.test_tensor, one.sample)]
    tensors += [*([labels] if labels else []), *shown]
    kept = [f"{WEIGHTS_FOLDER}/{path.name}" for path in converted.kept]
    beside = [f"{WEIGHTS_FOLDER}/{path.name}" for path in converted.beside]
    names = dict.fromkeys([*(name for one in weights for name in (one.file, *one.beside)), *tensors, *kept, *beside])
    record = _Conversion(
        origin=made_from,
        files={name: sha256(folder / name) for name in names},
        inputs=inputs,
        outputs=outputs,
        weights=weights,
        framework=converted.framework,
        notes=list(converted.notes),
        facts=dict(converted.facts),
        labels=labels,
        shown=tuple(shown),
        elsewhere_per_million=converted.elsewhere_per_million,
        kept=kept,
        described=dict(converted.described),
        beside=beside,
    )
    write_json(folder / CONVERSION, record.model_dump(mode="json"))  # last: where it stands, all of it is there


def conversion_of(earlier: Path, folder: Path, now: Origin) -> Converted:
    """The conversion that the job in `earlier` left, its files linked or copied into `folder`.

    Its `native` must be set by the caller. Raises NotKept where there is none, what it was made from differs from
    `now`, or a file is not what it was.
    """
    record = _record(earlier, CONVERSION, _Conversion, now)
    _take(record.files, earlier, folder)
    kept = Converted(
        inputs=[_tensor(one, folder) for one in record.inputs],
        outputs=[_tensor(one, folder) for one in record.outputs],
        weights=[
            Weights(one.weight_format, folder / one.file, one.entry, one.parent, [folder / name for name in one.beside])
            for one in record.weights
        ],
        native=Native(_unset),
        framework=record.framework,
        notes=record.notes,
        facts=record.facts,
        labels=np.load(folder / record.labels, allow_pickle=False) if record.labels else None,
        shown=_shown(record.shown, folder),
        elsewhere_per_million=record.elsewhere_per_million,
        kept=[folder / name for name in record.kept],
        described=record.described,
        beside=[folder / name for name in record.beside],
    )
    write_json(folder / CONVERSION, record.model_dump(mode="json"))
    return kept


def keep_tested(folder: Path, files: Sequence[Path], made_from: Origin) -> None:
    """Write down in the job's `folder` that these files of it, archive and report, passed all tests."""
    record = _Tested(origin=made_from, files={path.name: sha256(path) for path in files})
    write_json(folder / TESTED, record.model_dump(mode="json"))


def tested_of(earlier: Path, folder: Path, now: Origin) -> list[Path]:
    """Archive and report that passed all tests in the job in `earlier`, linked or copied into `folder`.

    Raises NotKept as `conversion_of` does.
    """
    record = _record(earlier, TESTED, _Tested, now)
    _take(record.files, earlier, folder)
    write_json(folder / TESTED, record.model_dump(mode="json"))
    return [folder / name for name in record.files]


def keep_comparison(folder: Path, comparison: Comparison, made_from: Origin) -> None:
    """Write down in the job's `folder` how far the package of the conversion there is from the model."""
    record = _Compared(
        origin=made_from,
        conversion=sha256(folder / CONVERSION),
        parity=None if comparison.parity is None else ParityRecord.model_validate(comparison.parity),
        differences=[
            DifferenceRecord(
                what=one.what, value=one.value, allowed=one.allowed if math.isfinite(one.allowed) else None
            )
            for one in comparison.differences
        ],
        not_measured=comparison.not_measured,
        drift=dict(comparison.drift),
        kept=[one.weight_format for one in comparison.kept],
        left_out=list(comparison.left_out),
        sizes=list(comparison.sizes),
        agreement=None if comparison.agreement is None else AgreementRecord.model_validate(comparison.agreement),
    )
    write_json(folder / COMPARED, record.model_dump(mode="json"))


def comparison_of(earlier: Path, folder: Path, converted: Converted, now: Origin) -> Comparison:
    """The comparison that the job in `earlier` made of the conversion that `folder` has from it.

    Raises NotKept as `conversion_of` does.
    """
    record = _record(earlier, COMPARED, _Compared, now)
    if record.conversion != sha256(folder / CONVERSION):
        raise NotKept("it was made of another conversion", begun=False)
    weights = {one.weight_format: one for one in converted.weights}
    if not set(record.kept) <= set(weights):
        raise NotKept(f"{COMPARED} of the run before is damaged")
    write_json(folder / COMPARED, record.model_dump(mode="json"))
    kept: list[Weights] = []
    for one in (weights[name] for name in record.kept):
        kept.append(replace(one, parent=parent_among(kept, one, converted.weights)))
    return Comparison(
        parity=cast(Parity, record.parity.model_dump()) if record.parity else None,
        drift=record.drift,
        kept=tuple(kept),
        left_out=tuple(record.left_out),
        sizes=tuple(record.sizes),
        differences=tuple(
            Difference(one.what, one.value, math.inf if one.allowed is None else one.allowed)
            for one in record.differences
        ),
        not_measured=record.not_measured,
        agreement=cast(Agreement, record.agreement.model_dump()) if record.agreement else None,
    )


def keep_packaged(folder: Path, archive: Path, made_from: Origin) -> None:
    """Write down in the job's `folder` that this archive there is written, and holds the conversion there."""
    record = _Packaged(origin=made_from, conversion=sha256(folder / CONVERSION), files={archive.name: sha256(archive)})
    write_json(folder / PACKAGED, record.model_dump(mode="json"))


def packaged_of(earlier: Path, folder: Path, now: Origin) -> Path:
    """The archive that the job in `earlier` wrote, linked or copied into `folder`.

    Raises NotKept as `conversion_of` does.
    """
    record = _record(earlier, PACKAGED, _Packaged, now)
    if record.conversion != sha256(folder / CONVERSION):
        raise NotKept("it was made of another conversion", begun=False)
    if len(record.files) != 1:
        raise NotKept(f"{PACKAGED} of the run before is damaged")
    _take(record.files, earlier, folder)
    write_json(folder / PACKAGED, record.model_dump(mode="json"))
    return folder / next(iter(record.files))


def _kept(tensor: TensorDescription, folder: Path) -> TensorRecord:
    return TensorRecord(
        id=tensor.id,
        description=tensor.description,
        axes=[dict(axis) for axis in tensor.axes],
        data=dict(tensor.data),
        test_tensor=_saved(tensor.test_tensor, f"test_tensor_{tensor.id}", folder),
        sample=_saved(tensor.sample, f"sample_{tensor.id}", folder),
        processing=[dict(step) for step in tensor.processing],
        sample_axes=tensor.sample_axes,
    )


def _saved(array: Array, name: str, folder: Path) -> str:
    """The name of the file in the job's folder that holds the array now."""
    path = f"{TENSORS_FOLDER}/{name}.npy"
    np.save(folder / path, array)
    return path


def _tensor(kept: TensorRecord, folder: Path) -> TensorDescription:
    return TensorDescription(
        id=kept.id,
        description=kept.description,
        axes=kept.axes,
        data=kept.data,
        test_tensor=np.load(folder / kept.test_tensor, allow_pickle=False),
        sample=np.load(folder / kept.sample, allow_pickle=False),
        processing=kept.processing,
        sample_axes=kept.sample_axes,
    )


def _shown(names: Sequence[str], folder: Path) -> tuple[Array, Array] | None:
    if len(names) != len(SHOWN):
        return None
    left, right = (np.load(folder / name, allow_pickle=False) for name in names)
    return left, right


def _unset(picture: Array) -> Array:
    raise NotImplementedError


def _record(earlier: Path, name: str, kind: type[Kind], now: Origin) -> Kind:
    require_private(earlier)
    try:
        record = kind.model_validate_json((earlier / name).read_bytes())
    except FileNotFoundError:
        raise NotKept("the run before did not come so far", begun=False) from None
    except (OSError, ValidationError) as problem:
        raise NotKept(f"{name} of the run before is damaged") from problem
    if changed := difference(record.origin, now):
        raise NotKept(changed)
    return record


def _take(files: Mapping[str, str], earlier: Path, folder: Path) -> None:
    """Link or copy files into `folder`; what is there is then what its hash says, or nothing of it is there."""
    taken: list[Path] = []
    try:
        for name, digest in files.items():
            if why_not_inside(name):
                raise NotKept(f"the record of the run before names a file {name!r}")
            if (earlier / name).is_symlink():
                raise NotKept(f"{name} of the run before is damaged")
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            if earlier != folder:  # a job may go on with what it did itself
                taken.append(target)
                target.unlink(missing_ok=True)
                _link(earlier / name, target)
            if sha256(target) != digest:
                raise NotKept(f"{name} of the run before is damaged")
    except BaseException as problem:
        for path in taken:
            path.unlink(missing_ok=True)
        if isinstance(problem, FileNotFoundError):
            raise NotKept("files of the run before are missing") from problem
        raise


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target, follow_symlinks=False)
