"""Any network of PyTorch: weights that no other family knows, and the code that they belong to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.checks import check_among, check_line, parse_list
from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, Value
from zoowizard.drafts.fields import Check, Field, Need
from zoowizard.drafts.questions import FIELDS as COMMON
from zoowizard.drafts.questions import parse_choice
from zoowizard.errors import ZoowizardError
from zoowizard.families import architecture, arguments, cellmap, further_inputs, network_fields
from zoowizard.families.family import Files, Recognition, Warning
from zoowizard.families.kin import kin
from zoowizard.families.network_answers import check_output_names
from zoowizard.families.network_fields import NETWORK_FIELDS
from zoowizard.families.pickles import look as look_at_pickle
from zoowizard.families.pickles import printable
from zoowizard.families.pytorch_told import beside, name_of, values_beside
from zoowizard.families.stand_ins import Made
from zoowizard.families.state_dicts import SAFETENSORS, StateDict, in_mapping, read_header, state_dicts

NAME = "pytorch"
FILES = Files((SAFETENSORS,), one_a_training=True)
LABELS: Mapping[str, str] = {
    "dtype": "number type",
    "spatial_axes_found": "dimensions",
    "output_channels_guessed": "outputs",
    "state_dicts": "state dicts",
    "hyper_parameters": "hyper-parameters",
}
"""What is found and never asked."""
MOST_LISTED: Final = 12


def _check_file(answer: Any) -> str | None:
    if not isinstance(answer, str) or not answer.strip():
        return f"{answer!r} is no path; write the path of a file of Python code, such as unet.py"
    path = Path(answer).expanduser()
    if path.is_dir():
        return f"{path.name} is a folder; give the one file in it that defines the network"
    try:
        code = architecture.parsed(path)
    except ZoowizardError as problem:
        return str(problem)
    if not path.name.endswith(".py"):
        return f"{path.name} does not end in .py; save the network's code as a file of Python"
    if not architecture.definitions(code):
        return f"{path.name} defines no class and no function, so no network"
    missing = architecture.missing_imports(code)
    beside = [one for one in missing if one.startswith(".") or (path.parent / f"{one.partition('.')[0]}.py").exists()]
    if beside:
        listed = ", ".join(printable(one) for one in beside[:5])
        return f"{path.name} imports {listed} from files beside it; a package takes one file: put into it what it needs"
    if missing:
        listed = ", ".join(printable(one) for one in missing[:5])
        return f"{path.name} imports {listed}, which is not installed here; install it, or take it out of the file"
    return None


def _hint_file(answer: Any) -> str | None:
    return (
        "its code is only read now; it will be run when the package is built or normalisations are tried, and by "
        "everybody who uses the package"
    )


_FILE: Final = Field(
    "architecture_file",
    "Architecture file",
    "The file of Python code that defines the network, with nothing that lies in other files of yours. It becomes a "
    "part of the package. Left out where the network is one of an installed library.",
    "unet.py",
    Need.RECOMMENDED,
    arguments.GROUP,
    "path",
    _check_file,
    "weights: architecture",
    parse=next(one.parse for one in COMMON if one.name == "test_image"),
    hint=_hint_file,
    leads=True,
)


def _check_dotted(answer: Any) -> str | None:
    if problem := check_line(answer):
        return problem
    try:
        architecture.in_library(answer)
    except ZoowizardError as problem:
        return f"{answer} {problem}"
    return None


_NETWORK: Final = Field(
    "network",
    "Network",
    "What makes the network: a class or function of the architecture file, or, without a file, the full name of one "
    "in an installed library. Its arguments are asked once it is known; in an answers file they are called argument_ "
    "and their name, such as argument_depth.",
    "monai.networks.nets.UNet",
    Need.REQUIRED,
    arguments.GROUP,
    "text",
    _check_dotted,
    "weights: architecture",
    parse=str.strip,
)
_KEY: Final = Field(
    "state_dict_key",
    "State dict",
    "Which weights of the checkpoint are packaged, by the keys under which they lie; . is the checkpoint itself.",
    "state_dict",
    Need.OPTIONAL,
    network_fields.NETWORK,
    "text",
    check_line,
    "weights",
    parse=str.strip,
)
_FURTHER: Final = Field(
    further_inputs.FURTHER,
    "Further inputs",
    "Only where the network takes several images at once, and its code does not tell their names: what the inputs "
    "behind the first are called, in their order. An image is then asked for each.",
    "mask",
    Need.OPTIONAL,
    network_fields.NETWORK,
    "texts",
    check_output_names,
    "inputs: id",
    parse=parse_list,
    leads=True,
)
FIELDS: Sequence[Field] = (_FILE, _NETWORK, _KEY, *NETWORK_FIELDS)


def look(path: Path) -> object:
    """Read the checkpoint again. Raises as `pickles.look` does."""
    return read_header(path) if path.suffix.lower() == SAFETENSORS else look_at_pickle(path)


def recognise(path: Path) -> Recognition | None:
    """Look at one file; None where it holds no state dict, and for a folder. Raises as `pickles.look` does."""
    if path.is_dir():
        return None
    is_safe = path.suffix.lower() == SAFETENSORS
    root = None if is_safe else look_at_pickle(path).root
    if isinstance(root, Made) and root.kind.startswith("torch.nn.modules."):
        return _whole(path, root)
    if kin(root):
        return None
    found = state_dicts(path) if is_safe else in_mapping(root)
    if not found and is_safe:
        raise ZoowizardError(
            f"{printable(path.name)} holds no weights of a network; give the file that training wrote."
        )
    if not found:
        return None
    chosen = found[0]
    there = beside(path, root)
    metadata = read_header(path)[1] if is_safe else {}
    values = {
        "architecture": Value(_architecture(chosen), CHECKPOINT),
        "parameters": Value(chosen.parameters, CHECKPOINT),
        "state_dict_key": Value(chosen.key, CHECKPOINT if chosen.path else DEFAULT),
        **_guesses(chosen),
        **values_beside(path, root, there),
        "tags": Value(["pytorch", *_tags(chosen)], DEFAULT),
    }
    if chosen.dtype:
        values["dtype"] = Value(chosen.dtype, CHECKPOINT)
    if len(found) > 1:
        values["state_dicts"] = Value([one.key for one in found[:MOST_LISTED]], CHECKPOINT)
    if name := name_of(path):
        values["name"] = Value(name, path.name)
    values |= cellmap.beside(path)
    evidence = [*_evidence(path, found, chosen), *(f"its metadata says {one}" for one in _said(metadata)), *there.told]
    return Recognition(path, NAME, path, tuple(evidence), values, tuple(_suspicions(chosen, there.later)))


def asks(values: Mapping[str, Any]) -> Sequence[Field]:
    """The questions of the network that is named, and those that its image and its normalisation lead to."""
    asked = [*_of_architecture(values), *arguments.fields_for(values)]
    if is_answered(values.get("network")) and _inputs_in_code(values) is None:
        asked.append(_FURTHER)
    asked += network_fields.asks(with_further_inputs(values))
    keys = values.get("state_dicts")
    if isinstance(keys, list | tuple) and len(keys) > 1:
        names = tuple(str(one) for one in keys)
        asked.append(_chosen(_KEY, names))
    return asked


def with_further_inputs(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with the names of the network's further inputs, where its code tells them."""
    told = _inputs_in_code(values)
    return values if told is None else {**values, further_inputs.FURTHER: further_inputs.names_for(told[1:])}


def _inputs_in_code(values: Mapping[str, Any]) -> Sequence[str] | None:
    try:
        return architecture.inputs_of(*arguments.place_of(values.get("architecture_file"), values.get("network")))
    except ZoowizardError:
        return None


def _of_architecture(values: Mapping[str, Any]) -> Iterator[Field]:
    file, network = values.get("architecture_file"), values.get("network")
    if not is_answered(file):
        if is_answered(network) and _check_dotted(network) is None:
            yield replace(_FILE, need=Need.OPTIONAL)
        return
    try:
        code = architecture.parsed(Path(str(file)).expanduser())
    except ZoowizardError:
        return
    likely = [one.name for one in architecture.candidates(code)]
    public = [one for one in architecture.definitions(code) if not one.startswith("_")]
    every = tuple(dict.fromkeys((*likely, *(public or architecture.definitions(code)))))
    if every:
        says = [f"{one.name}: {one.says}" for one in architecture.candidates(code) if one.says]
        told = f" {'; '.join(says[:5])}." if says else ""
        yield replace(
            _chosen(_NETWORK, every), default=likely[0] if len(likely) == 1 else None, help=_NETWORK.help + told
        )


def _chosen(field: Field, names: tuple[str, ...]) -> Field:
    """The question as a choice of these names."""
    among: Check = check_among(names)
    return replace(field, kind="choice", check=among, parse=parse_choice(names), choices=names, example=names[0])


def named_like(name: str) -> bool:
    """No tool of PyTorch's own writes files without an ending."""
    return False


def built_in(path: Path) -> str | None:
    """There are none that would be fetched by a name."""
    return None


def _whole(path: Path, root: Made) -> Recognition:
    """A network that was saved as a whole: its classes would have to be imported for loading it."""
    message = (
        f"{printable(path.name)} holds the network as a whole (torch.save(model)), which cannot be loaded safely. Save "
        "its weights alone where it was trained, torch.save(model.state_dict(), …), and give that file with the "
        "network's code."
    )
    kind = root.kind.rpartition(".")[2]
    values = {"architecture": Value(f"PyTorch network ({kind}), saved as a whole", CHECKPOINT)}
    evidence = (f"it is a torch checkpoint that holds a network ({kind}) and not only its weights",)
    return Recognition(path, NAME, path, evidence, values, (Warning("not-convertible", message),))


def _first_and_last(chosen: StateDict) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of the first and the last convolution, as the file has them; () where there is none."""
    shapes = [shape for name, shape in chosen.shapes.items() if len(shape) in (4, 5) and name.endswith("weight")]
    return (shapes[0], shapes[-1]) if shapes else ((), ())


def _guesses(chosen: StateDict) -> dict[str, Value]:
    """What the first and the last convolution let guess; the probing tells for certain."""
    first, last = _first_and_last(chosen)
    if not first:
        return {}
    return {
        "spatial_axes_found": Value(len(first) - 2, CHECKPOINT),
        "input_channels": Value(first[1], CHECKPOINT),
        "output_channels_guessed": Value(last[0], CHECKPOINT),
    }


def _architecture(chosen: StateDict) -> str:
    first, _ = _first_and_last(chosen)
    if not first:
        return "PyTorch network"
    return f"PyTorch network, {len(first) - 2}-D, {first[1]} input channel{'' if first[1] == 1 else 's'}"


def _tags(chosen: StateDict) -> list[str]:
    first, _ = _first_and_last(chosen)
    return [f"{len(first) - 2}d"] if first else []


def _evidence(path: Path, found: Sequence[StateDict], chosen: StateDict) -> Iterator[str]:
    where = "as a safetensors file" if path.suffix.lower() == SAFETENSORS else "as a torch checkpoint"
    place = "" if chosen.key == "." else f" under `{printable(chosen.key[:60])}`"
    yield f"it holds a state dict of {chosen.in_words}{place}, {where}"
    if chosen.prefix:
        yield f"the names of its weights begin with `{printable(chosen.prefix)}`, which is taken away"
    if chosen.left_out:
        yield f"left out are {len(chosen.left_out)} tensors that are no weights of the network"
    if len(found) > 1:
        others = ", ".join(f"`{printable(one.key[:60])}`" for one in found[1:6])
        why = ", the averaged weights (EMA), as those who write them predict with them" if chosen.averaged else ""
        yield f"of {len(found)} state dicts `{printable(chosen.key[:60])}` is taken{why}; there is also {others}"
    if _first_and_last(chosen)[0]:
        yield "dimensions and channels are guessed from its first and last convolution"


def _said(metadata: Mapping[str, str]) -> list[str]:
    listed = list(metadata.items())[:5]
    return [f"{printable(key[:40])} {printable(value[:80])}" for key, value in listed if key != "format"]


def _suspicions(chosen: StateDict, later: Path | None) -> Iterator[Warning]:
    if not chosen.parameters or not _first_and_last(chosen)[0]:
        yield Warning(
            "no-convolution",
            "None of its weights is a convolution in 2-D or 3-D: is it a network that takes images?",
        )
    if later is not None:
        yield Warning(
            "not-the-last", f"Of the same training there is a better one, or a later one: {printable(later.name)}."
        )
