"""Which names a checkpoint may hold: those that training writes and that do nothing when loaded."""

import re
from typing import Final

from zoowizard.families.stand_ins import CALLED, Made, Name

_CLASS: Final = r"(?:v8|v10)?[A-Z]\w*"
_DTYPES: Final = r"b?float(?:16|32|64)|u?int(?:8|16|32|64)|bool|half|double|long"
_EMPTY: Final = re.compile(
    rf"""torch\.nn\.modules\.\w+\.{_CLASS}
       | torch\.nn\.parameter\.(?:Parameter|Buffer)
       | torch\.(?:\w+Storage|Tensor|strided|{_DTYPES})
       | torch\.storage\.(?:UntypedStorage|TypedStorage)
       | numpy\.ndarray
       | torchvision\.transforms\.transforms\.(?:Compose|Normalize|Resize|CenterCrop|ToTensor)
       | argparse\.Namespace
       | yacs\.config\.CfgNode
       | easydict\.EasyDict
       | (?:pytorch_lightning|lightning|lightning_fabric)\.(?:\w+\.)*AttributeDict
       | ultralytics\.nn\.modules\.(?:\w+\.)?{_CLASS}
       | ultralytics\.nn\.(?:tasks|distill_model)\.{_CLASS}
       | ultralytics(?:\.yolo)?\.utils\.(?:loss|tal)\.{_CLASS}
       | ultralytics\.(?:yolo\.v8|models\.yolo)\.\w+\.train\.\w*Loss""",
    re.VERBOSE,
)
"""Classes that may be made empty, after what ultralytics' own safe loading allows (`nn/tasks.py`, `_SafeLoad`), and the
settings that trainings keep beside the weights."""

_PROGRAMS: Final = re.compile(r"(?:os|posix|nt|subprocess|pty|shutil|runpy|commands|multiprocessing)\.")
_CODE: Final = re.compile(r"builtins\.(?:eval|exec|compile|__import__|open|input|breakpoint)$|(?:code|codeop|timeit)\.")
_NETWORK: Final = re.compile(
    r"torch\.hub\.|ultralytics\.utils\.(?:downloads|checks)\.|urllib|requests|http|socket|webbrowser"
)

UNKNOWN: Final = "which is not among the harmless things that training writes, so loading it could run anything"


def may_be_named(full: str) -> bool:
    """Whether a pickle may name `full` (module and name, Python 3 spelling) at all."""
    return full in CALLED or full == "builtins.getattr" or _EMPTY.fullmatch(full) is not None


def may_be_got(owner: object, attribute: object) -> bool:
    """Whether `getattr(owner, attribute)` is one that YOLOv8 wrote: `Detect.forward`, `InterpolationMode.BILINEAR`."""
    if isinstance(owner, Name):
        network = re.match(r"(?:ultralytics|torch)\.nn\.modules\.", owner.full)
        enum = owner.full.endswith(".InterpolationMode") and attribute in {"NEAREST", "BILINEAR", "BICUBIC"}
        return enum or (network is not None and attribute == "forward")
    return isinstance(owner, Made) and attribute in {"forward", "forward_fuse"}


def danger(full: str) -> str:
    """What loading a file that names `full` could do, as the end of a sentence."""
    if _PROGRAMS.match(full):
        return "which would run a program when loaded"
    if _CODE.match(full):
        return "which would run code when loaded"
    if _NETWORK.match(full):
        return "which would fetch something from the network when loaded"
    return UNKNOWN
