"""A package of the zoo that exists already, brought to today's layout, with more formats or with new weights."""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.conversion import package_child as child
from zoowizard.conversion import package_paths
from zoowizard.conversion.converted import Array, Converted, Native, TensorDescription, Weights
from zoowizard.conversion.package_image import array_in, given_input, own_input
from zoowizard.conversion.package_kept import Kept, kept_of
from zoowizard.conversion.package_original import Original, laid_out, tensors_of, with_weights
from zoowizard.conversion.package_tensors import mirrored, on_one_grid, other_size, simplified, tensor, with_pixel_size
from zoowizard.drafts.images import MICROSCOPY
from zoowizard.errors import ZoowizardError
from zoowizard.families import package
from zoowizard.families.package_fields import ONNX, STATE_DICT, TORCHSCRIPT, kind_of_weights
from zoowizard.families.package_references import TEST, references
from zoowizard.families.package_told import values_of
from zoowizard.jobs.steps import Step
from zoowizard.library import clean
from zoowizard.library.archive import sha256

USES: tuple[str, ...] = (
    "test_image",
    "new_weights",
    "state_dict_key",
    "renew_test_output",
    "parent",
    "pixel_size",
)
ACCEPTS = MICROSCOPY
TOLERANCE: Final = 1e-3
"""Absolute and relative: what the library allows a test output to be apart where a package says nothing of it."""
MOST_MISMATCHED: Final = 0.005
"""The share of values that may be further apart in any package: `ReproducibilityTolerance` of
bioimageio.spec.model.v0_5."""
NEW_FILES: Final = {STATE_DICT: "weights.pt", TORCHSCRIPT: "weights-torchscript.pt", ONNX: "weights.onnx"}


@dataclass(frozen=True)
class _Opened:
    """The original with its new weights, where there are some, and as the layout 0.5 has it."""

    original: Original
    told: Mapping[str, Any]
    scratch: Path

    def run(self, tensors: Mapping[str, Array], weight_format: str) -> dict[str, Array]:
        """What the original gives, in a clean process, by the ids of its outputs in the layout 0.5."""
        source, target = self.scratch / "asked.npz", self.scratch / "given.npz"
        of_original = dict(zip((one["id"] for one in self.told["inputs"]), self._ids("inputs"), strict=True))
        np.savez(source, **{of_original[name]: one for name, one in tensors.items()})  # type: ignore[arg-type]
        try:
            _asked(child.run, clean.predict, self.original.described, weight_format, source, target)
        except ZoowizardError as problem:
            raise ZoowizardError(f"the original package cannot be run with its {weight_format}: {problem}") from problem
        with np.load(target, allow_pickle=False) as given:
            found = [np.asarray(given[name]) for name in self._ids("outputs")]
        return dict(zip((str(one["id"]) for one in self.told["outputs"]), found, strict=True))

    def _ids(self, side: str) -> list[str]:
        return list(tensors_of(self.original.told, side))


def read_image(checkpoint: Path, values: Mapping[str, Any]) -> Array:
    """The first input tensor, all axes: the package's own test input, or the image that was given for it."""
    given = values.get("test_image")
    if not given:
        return own_input(checkpoint)
    told = package.look(checkpoint).told
    try:
        like = own_input(checkpoint)
    except ZoowizardError:
        like = None
    return given_input(Path(given), told["inputs"][0], like)


def reads(checkpoint: Path, values: Mapping[str, Any]) -> Sequence[Path]:
    """The files of a package that is no zip."""
    contents = package.look(checkpoint)
    places = [contents.place(one.name) for one in references(contents.told) if not one.is_remote]
    return list(dict.fromkeys(one for one in places if one is not None and one.is_file()))


def convert(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Converted:
    """Bring the package to the layout 0.5. `image` is the first input tensor; weights go to `folder`.

    Raises ZoowizardError where it cannot be run, or does not reproduce its own test output.
    """
    step.progress(0.1, "opening the package")
    opened = _opened(checkpoint, values, folder, lambda doing: step.progress(0.1, doing))
    original, told = opened.original, opened.told
    first = original.formats[0]
    inputs = _test_inputs(opened, image)
    step.progress(0.4, f"running the original with its {first}")
    predicted = opened.run(inputs, first)
    notes = list(original.notes)
    outputs: Mapping[str, Array] = predicted
    if not values.get("new_weights") and not values.get("test_image"):
        outputs, differing = _test_outputs(opened, predicted, values.get("renew_test_output") == "yes")
        notes += differing
    step.progress(0.6, "weights")
    kept = kept_of(package.look(checkpoint), original, values, folder)
    weights = [_weights(name, told["weights"][name], original, kept) for name in original.formats]
    made, left_out = _further(opened, inputs, kept)
    described_inputs = [tensor(one, "preprocessing", inputs[one["id"]]) for one in told["inputs"]]
    described_outputs = [tensor(one, "postprocessing", outputs[one["id"]]) for one in told["outputs"]]
    return Converted(
        inputs=described_inputs,
        outputs=described_outputs,
        weights=[*weights, *made],
        native=_native(opened, inputs),
        framework=_framework(values),
        notes=[*notes, *left_out, *package_paths.told(weights), *kept.notes, *simplified(told)],
        facts=_facts(checkpoint, values),
        labels=_labels(described_inputs[0], described_outputs[0]),
        described=kept.described,
        beside=kept.files,
    )


def native(checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
    """The original package, run by the library with its own or the new weights."""
    opened = _opened(checkpoint, values, folder)
    return _native(opened, _test_inputs(opened, read_image(checkpoint, values)))


def _opened(checkpoint: Path, values: Mapping[str, Any], folder: Path, say: Callable[[str], object] = str) -> _Opened:
    original = laid_out(checkpoint, folder / "original", say)
    if values.get("new_weights"):
        original = _with_new_weights(original, Path(values["new_weights"]), values.get("state_dict_key"))
    told: Mapping[str, Any] = _asked(child.in_05, original.described)
    size = values.get("pixel_size")
    known = values_of(package.look(checkpoint)).get("pixel_size")
    if size and (known is None or known.value != size):
        told = with_pixel_size(told, size)
    if str(original.told["format_version"]).startswith("0.5"):
        told = _with_own_processing(told, original.told)
    scratch = original.folder / "zoowizard-run"
    scratch.mkdir()
    return _Opened(original, told, scratch)


def _asked(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of `package_child` gives in a clean process. Raises ZoowizardError."""
    try:
        return clean.in_clean_process(function, *arguments).result()
    except ZoowizardError:
        raise
    except Exception as problem:
        raise ZoowizardError(f"the package cannot be used: {child.in_a_line(problem)}") from problem


def _with_own_processing(told: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """As it was written: the library adds steps that it does anyway."""
    return {
        **told,
        **{
            side: [{**one, key: was.get(key)} for one, was in zip(told[side], original[side], strict=True)]
            for side, key in (("inputs", "preprocessing"), ("outputs", "postprocessing"))
        },
    }


def _with_new_weights(original: Original, source: Path, key: str | None) -> Original:
    """The original with the weights of a fine-tuned model in the place of its own."""
    kind = kind_of_weights(source)
    target = original.folder / "zoowizard-new" / NEW_FILES[kind]
    target.parent.mkdir()
    before = original.told["weights"].get(kind, {})
    torch_version = {"pytorch_version": importlib.metadata.version("torch").split("+")[0]}
    if kind == STATE_DICT:
        if not before:
            there = ", ".join(original.formats)
            raise ZoowizardError(
                f"new_weights: {source.name} is a state dict, and the package has no network in Python for it, only "
                f"{there}; export the fine-tuned network as TorchScript or ONNX"
            )
        _asked(child.adopt, original.described, source, key or "", target)
        entry = {**before, **torch_version}
    else:
        entry = (
            {**before, **torch_version} if kind == TORCHSCRIPT else {"opset_version": _asked(child.opset_of, source)}
        )
        if before.get("source") and sha256(original.folder / before["source"]) == sha256(source):
            raise ZoowizardError(f"new_weights: {source.name} {child.NOT_NEW}")
        _asked(child.without_folders, source, kind, target)
    entry = {name: one for name, one in entry.items() if name not in ("sha256", "parent", "authors", "external_data")}
    return with_weights(original, kind, {**entry, "source": target.relative_to(original.folder).as_posix()})


def _test_inputs(opened: _Opened, image: Array) -> dict[str, Array]:
    """The input tensors by id; the first is the test image. Raises ZoowizardError where others have another size."""
    first, *others = (str(one["id"]) for one in opened.told["inputs"])
    found = _tests(opened, "inputs")
    if others and image.shape != found[first].shape:
        raise ZoowizardError(
            f"test_image: it has {_by(image)} values, and the package has other inputs, which fit to one of "
            f"{_by(found[first])}; give one of that size, or none"
        )
    return {first: image, **{name: found[name] for name in others}}


def _tests(opened: _Opened, side: str) -> dict[str, Array]:
    """The test tensors of the original, by their ids in the layout 0.5."""
    key = f"test_{side}"
    by_number = {}
    for one, path in opened.original.beside(TEST):
        if one.place[0] == key or (one.place[0] == side and "test_tensor" in one.place):
            by_number[int(one.place[1])] = array_in(path.read_bytes(), one.name)
    names = [str(one["id"]) for one in opened.told[side]]
    if missing := [name for number, name in enumerate(names) if number not in by_number]:
        raise ZoowizardError(f"the package has no test tensor for {', '.join(missing)}, so it cannot be tested")
    return {name: by_number[number] for number, name in enumerate(names)}


def _test_outputs(
    opened: _Opened, predicted: Mapping[str, Array], renew: bool
) -> tuple[Mapping[str, Array], list[str]]:
    """The test outputs of the original where it reproduces them, or what it gives now where they shall be made anew.

    With them what is to be told of a difference. Raises ZoowizardError where they differ and are to stay.
    """
    try:
        expected = _tests(opened, "outputs")
    except ZoowizardError as problem:
        if not renew:
            raise
        return predicted, [f"The test output was made anew: {problem}."]
    sentences = [told for name in expected if (told := _difference(name, predicted[name], expected[name]))]
    if not sentences:
        return expected, []
    if renew:
        return predicted, [f"The test output was made anew: {'; '.join(sentences)}."]
    raise ZoowizardError(
        f"the package does not reproduce its own test output: {'; '.join(sentences)}. Its weights or its processing "
        "are not those that made it. To publish what it predicts now, answer renew_test_output with yes"
    )


def _difference(name: str, found: Array, expected: Array) -> str:
    """How far an output is from the expected one, in words; empty where it is no further than the format allows."""
    if found.shape != expected.shape:
        return f"“{name}” has the shape {_by(found)} instead of {_by(expected)}"
    apart = np.abs(found.astype(np.float64) - expected)
    allowed = TOLERANCE + TOLERANCE * np.abs(expected)
    share = float((~(apart <= allowed)).mean()) if apart.size else 0.0
    if share <= MOST_MISMATCHED:
        return ""
    low, high = float(expected.min()), float(expected.max())
    return (
        f"{share:.1%} of the values of “{name}” differ, by {float(apart.max()):.3g} at most, where they go from "
        f"{low:.3g} to {high:.3g}"
    )


def _by(array: Array) -> str:
    return " x ".join(map(str, array.shape))


def _weights(name: str, entry: Mapping[str, Any], original: Original, kept: Kept) -> Weights:
    """Weights as they are, their files beside each other."""
    path = kept.take(original.folder / entry["source"], NEW_FILES.get(name, ""))
    said = {
        key: one
        for key, one in entry.items()
        if key not in ("source", "sha256", "parent") and one not in (None, "") and (key, one) != ("strict", True)
    }
    files = []
    for key in ("architecture", "external_data", "dependencies"):
        part = said.get(key)
        if isinstance(part, Mapping) and part.get("source"):
            files.append(kept.take(original.folder / part["source"], same_name=key == "external_data"))
            said[key] = {**{one: value for one, value in part.items() if value is not None}, "source": files[-1].name}
    parent = entry.get("parent")
    return Weights(name, path, said, parent if parent in original.formats else None, files)


def _further(opened: _Opened, inputs: Mapping[str, Array], kept: Kept) -> tuple[tuple[Weights, ...], tuple[str, ...]]:
    """TorchScript of a state dict, ONNX of either, where the package lacks them; sentences about what could not be."""
    formats = opened.original.formats
    made_of = next((name for name in (STATE_DICT, TORCHSCRIPT) if name in formats), "")
    wanted = [name for name in (TORCHSCRIPT, ONNX) if name not in formats]
    if not wanted:
        return (), ()
    could_not = f"{' and '.join(wanted)} could not be added"
    if not made_of:
        return (), (f"{could_not}: they are made of a state dict or of TorchScript, and the package has neither.",)
    if not on_one_grid(opened.told["inputs"]):
        return (), (f"{could_not}: its inputs do not have the same sizes, as is needed for that.",)
    axes = opened.told["inputs"][0]["axes"]
    image = next(iter(inputs.values()))
    other = other_size(axes, image)
    channels = {name: one.shape[1] if one.ndim > 1 else 1 for name, one in inputs.items()}
    shapes = [image.shape, image.shape if other is None else other.shape]
    if len(inputs) > 1:
        shapes = [(one[0], sum(channels.values()), *one[2:]) for one in shapes]
    free_of_outputs = {str(one["id"]): _free(one["axes"]) for one in opened.told["outputs"]}
    exporting = child.Wanted(channels, (shapes[0], shapes[1]), _free(axes), free_of_outputs)
    folder = opened.original.folder / "zoowizard-made"
    folder.mkdir()
    try:
        made = _asked(child.export, opened.original.described, made_of, wanted, exporting, folder)
    except ZoowizardError as problem:
        return (), (f"{could_not}: {problem}.",)
    assert isinstance(made, child.Exports)
    return tuple(replace(one, path=kept.take(one.path)) for one in made.weights), made.left_out


def _facts(checkpoint: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of fine-tuned weights, what the original tells of its own: it does not hold for these."""
    told = values_of(package.look(checkpoint)).get("validation")
    return {"original": {"validation": told.value}} if told is not None and values.get("new_weights") else {}


def _free(axes: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The axes whose size is not fixed, by their names."""
    sizes = [None if one["type"] == "channel" else one.get("size") for one in axes]
    return {
        place: str(one.get("id") or one["type"])
        for place, (one, size) in enumerate(zip(axes, sizes, strict=True))
        if one["type"] != "channel" and not isinstance(size, int)
    }


def _native(opened: _Opened, inputs: Mapping[str, Array]) -> Native:
    """Runs the original on views of its test input."""
    first, *others = inputs
    axes = opened.told["inputs"][0]["axes"]
    resizes = on_one_grid(opened.told["inputs"])

    def to_input(image: Array) -> Mapping[str, Array]:
        further = {name: inputs[name] for name in others}
        if image.shape != inputs[first].shape:
            further = {name: _in_other_size(axes, one) for name, one in further.items()}
        return {first: image, **further}

    def pictures(image: Array) -> Mapping[str, Array]:
        views = {"as it is": image, "mirrored": mirrored(axes, image)}
        other = other_size(axes, image) if resizes else None
        return views if other is None else {**views, "another size": other}

    def outputs(image: Array) -> Mapping[str, Array]:
        return opened.run(to_input(image), opened.original.formats[0])

    return Native(to_input=to_input, outputs=outputs, pictures=pictures)


def _in_other_size(axes: Sequence[Mapping[str, Any]], image: Array) -> Array:
    other = other_size(axes, image)
    return image if other is None else other


def _labels(image: TensorDescription, output: TensorDescription) -> Array | None:
    """The label image for the cover, where the first output is one by its channel's name and whole numbers."""
    names = [str(one) for axis in output.axes for one in axis.get("channel_names", ())]
    shows = output.sample_axes == "yx" and image.sample_axes in ("yx", "yxc") and image.sample.shape[2:] <= (3,)
    if not shows or len(names) != 1 or not names[0].startswith(("label", "mask", "instance")):
        return None
    labels = output.sample
    is_whole = labels.shape == image.sample.shape[:2] and bool((labels == np.rint(labels)).all() and labels.max() > 1)
    return labels.astype(np.int32) if is_whole else None


def _framework(values: Mapping[str, Any]) -> str:
    weights = " with the new weights" if values.get("new_weights") else ""
    return f"the original package{weights}"
