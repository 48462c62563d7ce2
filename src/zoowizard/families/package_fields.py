"""What is asked of a package that exists: whether its weights, its test image or its test output are to be others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.checks import DATASET_LETTERS, check_among, check_line, shown, what_it_is
from zoowizard.drafts.fields import Check, Field, Need
from zoowizard.drafts.images import MICROSCOPY, check_test_image
from zoowizard.drafts.questions import FIELDS as COMMON
from zoowizard.drafts.questions import parse_choice
from zoowizard.errors import ZoowizardError
from zoowizard.families.network_fields import VOXEL_SIZE
from zoowizard.families.pickles import followed, printable
from zoowizard.families.state_dicts import SAFETENSORS, state_dicts
from zoowizard.families.zips import ZIP, records

STATE_DICT, TORCHSCRIPT, ONNX = "pytorch_state_dict", "torchscript", "onnx"
YES_OR_NO: Final = ("no", "yes")
NOT_IN_ZOO: Final = "none"
"""Instead of an id: the original is not in the zoo."""
_COMMON: Final = {one.name: one for one in COMMON}


def kind_of_weights(path: Path) -> str:
    """The weight format that a file of weights is for: a state dict or checkpoint, TorchScript or ONNX.

    Told from its first bytes and the names of its records. Raises ZoowizardError where it is none of these.
    """
    if path.suffix.lower() == SAFETENSORS:
        return STATE_DICT
    with followed(path) as file:
        head = file.read(4)
        if head == ZIP:
            names = {one.last for one in records(file, path.stat().st_size)}
            return TORCHSCRIPT if b"constants.pkl" in names else STATE_DICT
    if head[:1] == b"\x80":
        return STATE_DICT
    if path.suffix.lower() == ".onnx":
        return ONNX
    raise ZoowizardError(
        f"{printable(path.name)} holds no weights that can take the place of others: a state dict, TorchScript or ONNX."
    )


def _check_new_weights(answer: Any) -> str | None:
    if not isinstance(answer, str) or not answer.strip():
        return f"is {what_it_is(answer)}; write the path of a file"
    path = Path(answer)
    try:
        if kind_of_weights(path) == STATE_DICT and not state_dicts(path):
            return f"{shown(path.name)} holds no weights by the names of layers; save the network's state_dict()"
    except ZoowizardError as problem:
        return str(problem).rstrip(".")
    except (OSError, ValueError) as problem:
        return f"{shown(answer)} cannot be read: {problem}"
    return None


def _check_image(answer: Any) -> str | None:
    if isinstance(answer, str) and answer.lower().endswith(".npy"):
        path = Path(answer)
        return None if path.is_file() else f"{shown(answer)} does not exist; write the path of an image or .npy file"
    return check_test_image(answer, MICROSCOPY)


def check_parent(answer: Any) -> str | None:
    """The id of a model in the zoo."""
    if problem := check_line(answer):
        return problem
    if "://" in answer or any(one not in DATASET_LETTERS for one in answer):
        return f"{shown(answer)} is no id of the zoo; ids hold small letters, digits and _ - / . only"
    return None


def _path(line: str) -> str:
    typed = line.strip().strip("\"'")
    return str(Path(typed).expanduser().absolute()) if typed else ""


FIELDS: Sequence[Field] = (
    Field(
        "test_image",
        "Another test image",
        "Left out, the test input of the package itself is taken. A PNG or TIFF, 8-bit, 16-bit or float, for a network "
        "of pictures; for any other one an .npy file with all axes of its input. The test output is then made anew.",
        "images/nuclei.tif",
        Need.OPTIONAL,
        "Test image",
        "path",
        _check_image,
        "inputs: test and sample tensor, cover",
        parse=_path,
    ),
    Field(
        "new_weights",
        "New weights",
        "Only for a fine-tuned model: the file with its weights, which takes the place of the package's weights of "
        "that kind. A state dict or training checkpoint, TorchScript, or ONNX. The other formats are made anew from it "
        "or left out.",
        "runs/fine-tuned/best.pth",
        Need.OPTIONAL,
        "Network",
        "path",
        _check_new_weights,
        "weights",
        parse=_path,
    ),
    Field(
        "renew_test_output",
        "Renew the test output",
        "Only where the package does not reproduce its own test output: yes takes what it predicts now. Left out, or "
        "no, such a package is not made. First find out why it differs, for this makes a wrong package look right.",
        "no",
        Need.OPTIONAL,
        "Network",
        "choice",
        check_among(YES_OR_NO),
        "outputs: test tensors",
        parse=parse_choice(YES_OR_NO),
        choices=YES_OR_NO,
    ),
    VOXEL_SIZE,
)
_STATE_DICT_KEY: Final = Field(
    "state_dict_key",
    "State dict",
    "Which of the state dicts in the file of the new weights is the network's; a dot is the file itself.",
    "state_dict",
    Need.OPTIONAL,
    "Network",
    "choice",
    check_line,
    "weights",
    parse=str.strip,
)
_PARENT: Final = Field(
    "parent",
    "Fine-tuned from",
    "The id in the zoo of the model that was fine-tuned: it stands in the description of its package once it is "
    f"published, and at the end of its page's address. Write {NOT_IN_ZOO} where it is not in the zoo.",
    "affable-shark",
    Need.REQUIRED,
    "Model",
    "text",
    check_parent,
    "parent",
    parse=str.strip,
    deferred=lambda answer: None if answer == NOT_IN_ZOO else f"is {answer} the id of a model in the zoo?",
)


def asks(values: Mapping[str, Any]) -> Sequence[Field]:
    """What new weights lead to: from which model they are, and a name and a version of their own."""
    weights = values.get("new_weights")
    if not isinstance(weights, str) or not weights:
        return ()
    name, version = values.get("name_of_original"), values.get("version_of_original")
    asked = [
        replace(_PARENT, default=values.get("model_id") if check_parent(values.get("model_id")) is None else None),
        replace(_COMMON["name"], hint=_other_than(name, _COMMON["name"].hint, "give the new one a name of its own")),
        replace(_COMMON["version"], hint=_other_than(version, _COMMON["version"].hint, "raise it for the new weights")),
    ]  # fmt: skip
    keys = _keys(Path(weights))
    if len(keys) > 1:
        asked.append(replace(_STATE_DICT_KEY, choices=keys, default=keys[0], check=check_among(keys)))
    return asked


def _other_than(original: Any, hint: Check, advice: str) -> Check:
    def said(answer: Any) -> str | None:
        if original and answer == original:
            return f"is that of the original still; {advice}"
        return hint(answer)

    return said


def _keys(path: Path) -> tuple[str, ...]:
    try:
        return tuple(one.key for one in state_dicts(path)) if kind_of_weights(path) == STATE_DICT else ()
    except (ZoowizardError, OSError, ValueError):
        return ()
