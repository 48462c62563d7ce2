"""TorchScript: recognise a program of `torch.jit.save`, and ask what its file cannot tell. Nothing in it is run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.draft import CHECKPOINT, Value
from zoowizard.drafts.fields import Field
from zoowizard.errors import ZoowizardError
from zoowizard.families import exported_told as told
from zoowizard.families import further_inputs
from zoowizard.families.exported_told import Image, in_the_way, listed
from zoowizard.families.family import Files, Recognition, Warning
from zoowizard.families.network_fields import NETWORK_FIELDS
from zoowizard.families.pickles import printable
from zoowizard.families.state_dicts import BUFFERS, DTYPES
from zoowizard.families.torchscript_archive import Program, read

NAME = "torchscript"
FILES = Files((".pt2", ".ptl", ".torchscript"), shared=(".ts",))
FIELDS: Sequence[Field] = NETWORK_FIELDS
asks = told.asks
LABELS: Mapping[str, str] = {**told.LABELS, "operators": "further operators"}
OF_TORCH: Final = frozenset({"aten", "prim", "prims", "quantized", "_quantized", "sparse", "inductor"})
"""Libraries of operators that every PyTorch brings."""
CLASSES_OF_TORCH: Final = frozenset({"quantized", "sparse", "rnn", "xnnpack", "mkldnn", "mkldnn_prepacked", "nnapi"})
_AS_ANOTHER: Final = {
    "old script": (
        "TorchScript before PyTorch 1.4",
        "It is TorchScript of PyTorch 1.0 to 1.3, whose layout most tools no longer read. Write it again with a newer "
        "PyTorch: torch.jit.save(torch.jit.load(OLD), NEW).",
    ),
    "mobile": (
        "PyTorch Mobile program",
        "It is a program for PyTorch Mobile, which holds no code that other tools can load: save the network with "
        "torch.jit.save instead of _save_for_lite_interpreter.",
    ),
    "exported": (
        "PyTorch exported program",
        "It is an exported program (torch.export.save), which no format of the zoo holds. Load it with "
        "torch.export.load(FILE).module() and export that to ONNX, or save its state dict and give the architecture.",
    ),
    "compiled": (
        "program compiled by AOTInductor",
        "It is a program that AOTInductor compiled for one kind of computer: export the network itself to ONNX or "
        "TorchScript, or give its state dict and the architecture.",
    ),
    "package": (
        "torch.package archive",
        "It is an archive of torch.package, which holds Python code that would be run when loaded: save the state dict "
        "of the network and give its architecture, or export it to TorchScript or ONNX.",
    ),
}
"""What the other sorts of programs are called, and what to do with them."""


def named_like(name: str) -> bool:
    """TypeScript is called so, too, but does not begin like a zip."""
    return name.lower().endswith(".ts")


def built_in(path: Path) -> str | None:
    """Nothing is fetched by name."""
    return None


def look(path: Path) -> Program:
    """Read it again. Raises as `torchscript_archive.read` does, ZoowizardError also where it is no program any more."""
    program = read(path)
    if program is None or program.kind != "script":
        raise ZoowizardError(f"{printable(path.name)} is no TorchScript program.")
    return program


def recognise(path: Path) -> Recognition | None:
    """Look at one file; None where it is no program of torch, and for a folder. Raises as `read` does."""
    if path.is_dir() or (program := read(path)) is None:
        return None
    if program.kind != "script":
        name, message = _AS_ANOTHER[program.kind]
        values = {"architecture": Value(name, CHECKPOINT)}
        return Recognition(path, NAME, path, (f"the records of the zip are those of a {name}",), values,
                           (in_the_way(message),))  # fmt: skip
    image, how = _image(program)
    dtype = _dtype(program)
    values = {
        **image.values(path, "TorchScript", "pytorch"),
        "parameters": Value(_parameters(program), CHECKPOINT),
        further_inputs.FURTHER: Value(
            further_inputs.names_for([one.name for one in program.inputs or () if not one.optional][1:]), CHECKPOINT
        ),
        "inputs_found": Value([f"{one.name} ({one.kind})" for one in program.inputs or ()], CHECKPOINT),
        "outputs_found": Value(_outputs(program.output), CHECKPOINT),
        "operators": Value(_foreign(program), CHECKPOINT),
        **({"dtype": Value(dtype, CHECKPOINT)} if dtype else {}),
    }
    if program.traced and told.image_of(program.traced[0]).spatial_axes is not None:
        values["input_shape"] = Value(told.shape_in_words(program.traced[0]), CHECKPOINT)
    kept = {name: one for name, one in values.items() if one.value not in ("", [], 0)}
    warnings = (*_in_the_way(program), *_suspicions(program, image, dtype))
    return Recognition(path, NAME, path, tuple(_evidence(program, how)), kept, warnings)


def _evidence(program: Program, how: str) -> Iterator[str]:
    class_name = printable(program.name.rpartition(".")[2][:60])
    called = f" of the class {class_name}" if class_name else ""
    yield f"it is a TorchScript program{called}, as torch.jit.save writes it (constants.pkl, code)"
    if program.inputs is not None:
        given = listed([f"{printable(one.name)} ({printable(one.kind)})" for one in program.inputs]) or "nothing"
        yield f"its forward takes {given[:300]} and gives {printable(program.output[:200])}"
    if how:
        yield how


def _image(program: Program) -> tuple[Image, str]:
    """What the network takes, and how that is known."""
    if program.traced and (image := told.image_of(program.traced[0])).spatial_axes is not None:
        return image, f"it was traced with an image of {told.shape_in_words(program.traced[0])}"
    if program.convolution:
        weight, name = program.tensors[program.convolution].shape, program.convolution
        transposed = program.transposed
    else:
        shapes = ((name, one.shape) for name, one in [*program.tensors.items(), *_numbered(program.constants)])
        name, weight = next(((name, one) for name, one in shapes if len(one) in (4, 5)), ("", ()))
        transposed = False
    image = told.image_of_weight(weight, transposed)
    if image.spatial_axes is None:
        return image, ""
    return image, f"its first convolution ({printable(name[:60])}) fits {image.in_words}: a guess to confirm"


def _numbered(constants: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    yield from ((f"constant {place}", one) for place, one in enumerate(constants))


def _parameters(program: Program) -> int:
    """Numbers that training could change; weights that are used twice count once."""
    named = {name: one for name, one in program.tensors.items() if name.rpartition(".")[2] not in BUFFERS}
    distinct = {id(one): one for one in [*named.values(), *program.constants]}
    return sum(one.numel for one in distinct.values() if "float" in DTYPES.get(one.dtype, ""))


def _dtype(program: Program) -> str:
    counted: Counter[str] = Counter()
    for one in program.all_tensors:
        if "float" in (known := DTYPES.get(one.dtype, "")):
            counted[known] += one.numel
    return counted.most_common(1)[0][0] if counted else ""


def _outputs(kind: str) -> str:
    """`one tensor`, `2 tensors`; of other types their name."""
    if kind == "Tensor":
        return "one tensor"
    inner = kind.removeprefix("Tuple[").removesuffix("]").split(", ")
    if kind.startswith("Tuple[") and set(inner) == {"Tensor"}:
        return f"{len(inner)} tensors"
    return {"List[Tensor]": "a list of tensors", "Dict[str, Tensor]": "tensors by name"}.get(kind, kind[:100])


def _foreign(program: Program) -> list[str]:
    """Operators of further libraries, such as torchvision::nms."""
    return sorted(one for one in program.operators if one.partition("::")[0] not in OF_TORCH)


def _in_the_way(program: Program) -> Iterator[Warning]:
    classes = sorted(one for one in program.classes if one.partition(".")[0] not in CLASSES_OF_TORCH)
    if classes:
        yield in_the_way(
            f"It needs the class{'es' if len(classes) > 1 else ''} {printable(listed(classes)[:200])}, written in C++ "
            "(torch.classes), which only the program that made it brings: export the network without it."
        )
    others = [one for one in _foreign(program) if not one.startswith("torchvision::")]
    if others:
        yield in_the_way(
            f"It needs the operator{'s' if len(others) > 1 else ''} {printable(listed(others)[:200])} of a library "
            "that neither PyTorch nor the zoo brings: replace them by plain ones and export it again."
        )
    if program.inputs is None:
        yield in_the_way("Its code has no forward that could be read: save a module (torch.nn.Module) with one.")
        return
    needed = [one for one in program.inputs if not one.optional]
    no_tensor = next((one for one in needed if one.kind not in ("Tensor", "Optional[Tensor]")), None)
    if not needed or len(needed) > further_inputs.MOST_INPUTS:
        yield in_the_way(
            f"It takes {len(needed) or 'no'} inputs; a package is made of a network that takes one image or a few. "
            f"Wrap it in a module that takes one to {further_inputs.MOST_INPUTS}, and export that."
        )
    elif no_tensor:
        yield in_the_way(
            f"Its input {printable(no_tensor.name)} is no image but {printable(no_tensor.kind[:100])}: wrap it in a "
            "module that takes tensors, (batch, channel, y, x), and export that."
        )
    elif wrong := _no_image(program, len(needed)):
        yield in_the_way(wrong)
    if "Tensor" not in program.output and "__torch__" not in program.output:
        yield in_the_way(f"It gives no tensor but {printable(program.output[:100])}: export a network that gives one.")


def _no_image(program: Program, count: int) -> str | None:
    """What is wrong with the shapes of several inputs that it was traced with."""
    traced = [one for one in program.traced[:count] if count > 1]
    if all(len(one) == len(traced[0]) in (4, 5) and one[2:] == traced[0][2:] for one in traced):
        return None
    shapes = listed([told.shape_in_words(one) for one in traced])
    return (
        f"It was traced with inputs of {shapes}; a package takes images of the same size, (batch, channel, y, x) or "
        "(batch, channel, z, y, x): wrap it in a module that makes the others of these, and export that."
    )


def _suspicions(program: Program, image: Image, dtype: str) -> Iterator[Warning]:
    vision = [one for one in _foreign(program) if one.startswith("torchvision::")]
    if vision:
        yield Warning(
            "torchvision-operators",
            f"It needs {listed(vision)}. The zoo's runner, ilastik and Java tools (deepImageJ, QuPath) load "
            "TorchScript without torchvision, and cannot run it: leave that step out of the network, or write it with "
            "plain operators.",
        )
    if program.training:
        yield Warning(
            "traced-in-training",
            "It was traced while training (batch norm or dropout is fixed in that state), so that it predicts another "
            "thing than the trained network: call .eval() before torch.jit.trace, and export it again.",
        )
    if program.device:
        yield Warning(
            "needs-device",
            f"Its code asks for the device {program.device}, so that it cannot run elsewhere: put the network on the "
            "CPU, trace it again.",
        )
    if dtype in ("float16", "bfloat16"):
        yield told.half_precision(dtype)
    if any(one.startswith("quantized::") for one in program.operators):
        yield Warning(
            "quantised",
            "Its weights are quantised: it runs on a CPU only, cannot be brought to ONNX, and Java tools may not load "
            "it. Package the network as it was before.",
        )
    if image.spatial_axes is None:
        yield Warning(
            "no-convolution",
            "Nothing in it tells whether it takes 2-D or 3-D images: it was not traced and has no convolution.",
        )
    if any("Ultralytics" in text for text in program.extra.values()):
        yield told.YOLO
