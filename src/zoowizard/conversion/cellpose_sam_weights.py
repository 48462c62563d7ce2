"""The state dict of a Cellpose-SAM checkpoint: read without taking memory, written once as float32, or not at all.

True weights are 1.23 GB in float32: nothing here holds more than one tensor of them.
"""

import io
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from zoowizard.errors import ZoowizardError

StateDict = Mapping[str, torch.Tensor]
MOST_BESIDE_BYTES: Final = 1 << 20
"""A file of `torch.save` holds names, shapes and padding beside its tensors; what is larger holds something else."""
MOST_CUT_OFF: Final = 0.05
DATA_PARALLEL: Final = "module."
"""What training on several GPUs puts before every name."""


def read_state_dict(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, of the type that they have there.

    They are mapped into memory, so that only what is used is read, where the file is a zip (as it is since 2020).
    Raises ZoowizardError where the file is damaged, or holds something else than the tensors of Cellpose-SAM.
    """
    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(checkpoint))
    except Exception as problem:
        raise ZoowizardError(
            f"{checkpoint.name}: PyTorch cannot read it: it is damaged or shortened; copy or download it again"
        ) from problem
    if not isinstance(loaded, Mapping) or not all(isinstance(one, torch.Tensor) for one in loaded.values()):
        raise ZoowizardError(
            f"{checkpoint.name}: it holds more than the weights; give the file that `CellposeModel.net.save_model` or "
            "training wrote"
        )
    state = {str(name).removeprefix(DATA_PARALLEL): tensor for name, tensor in loaded.items()}
    if any(name.startswith("downsample.") for name in state):
        raise ZoowizardError(
            f"{checkpoint.name}: it is a model of Cellpose 1, 2 or 3, which Cellpose-SAM cannot run; open the file "
            "again, and it is packaged as what it is"
        )
    if not {"W2", "encoder.pos_embed", "out.weight"} <= state.keys():
        raise ZoowizardError(f"{checkpoint.name}: it is no Cellpose-SAM model: it has no tensors W2, encoder and out")
    return state


def check_fits(checkpoint: Path, state: StateDict, network: StateDict) -> None:
    """Raises ZoowizardError, naming the first differences, where the tensors are not those of the network."""
    missing = [name for name in network if name not in state]
    unknown = [name for name in state if name not in network]
    others = [
        f"{name} is {_shape(state[name])} and not {_shape(one)}"
        for name, one in network.items()
        if name in state and state[name].shape != one.shape
    ]
    wrong = [f"{name} is missing" for name in missing] + [f"{name} is unknown" for name in unknown] + others
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ZoowizardError(
            f"{checkpoint.name}: its tensors are not those of Cellpose-SAM: {'; '.join(wrong[:3])}{more}; give a model "
            "of cellpose 4 as it was saved"
        )


def put_float32(checkpoint: Path, state: StateDict, path: Path) -> None:
    """Let `path` be these tensors, in float32, as `torch.save` writes them for PyTorch 1.6 and later.

    Nothing is written where the checkpoint is that already: `path` is another name for it then, where the disk allows
    that, else a copy. Raises OSError where the disk is full.
    """
    path.unlink(missing_ok=True)
    if not _is_plain_float32(checkpoint, state):
        _write_float32(state, path)
        return
    try:
        path.hardlink_to(checkpoint.resolve())
    except OSError:  # another disk, or one without links, or somebody else's file
        shutil.copyfile(checkpoint, path)


def _is_plain_float32(checkpoint: Path, state: StateDict) -> bool:
    """Whether the file holds these tensors in float32 under these names and nothing else of any size."""
    if not zipfile.is_zipfile(checkpoint):
        return False
    with zipfile.ZipFile(checkpoint) as archive:
        names = archive.namelist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            return False
        pickled = archive.read(next(name for name in names if name.endswith("/data.pkl")))
    content = sum(one.nbytes for one in state.values())
    # cellpose cuts some tensors out of larger ones, and saves those
    storages = sum({one.data_ptr(): one.untyped_storage().nbytes() for one in state.values()}.values())
    return (
        all(one.dtype == torch.float32 for one in state.values())
        and DATA_PARALLEL.encode() not in pickled
        and 0 <= checkpoint.stat().st_size - storages < MOST_BESIDE_BYTES
        and storages - content < max(MOST_BESIDE_BYTES, MOST_CUT_OFF * content)
    )


@dataclass(frozen=True)
class _Storage:
    """Stands for the numbers of one tensor in the pickle: the record that holds them, and how many there are."""

    record: str
    numbers: int


class _Tensor:
    """Stands for a tensor in the pickle: is read back by torch as the tensor over a storage."""

    def __init__(self, storage: _Storage, shape: torch.Size) -> None:
        self.storage, self.shape = storage, tuple(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        strides = torch.empty(self.shape, device="meta").stride()
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, self.shape, strides, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, one: Any) -> Any:
        return ("storage", torch.FloatStorage, one.record, "cpu", one.numbers) if isinstance(one, _Storage) else None


def _write_float32(state: StateDict, path: Path) -> None:
    """The format of `torch.serialization._save`, one tensor after the other instead of all at once."""
    stand_ins = {
        name: _Tensor(_Storage(str(number), tensor.numel()), tensor.shape)
        for number, (name, tensor) in enumerate(state.items())
    }
    pickled = io.BytesIO()
    _Pickler(pickled, protocol=2).dump(OrderedDict(stand_ins))
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open(
            "wb"
        ) as file:  # torch ends the whole process where it has opened the file and the disk is full
            writer: Any = torch._C.PyTorchFileWriter(file)
            writer.write_record("data.pkl", pickled.getvalue(), len(pickled.getvalue()))
            for number, tensor in enumerate(state.values()):
                numbers = tensor.to(torch.float32).contiguous().flatten()
                numbers = numbers if numbers.untyped_storage().nbytes() == numbers.nbytes else numbers.clone()
                writer.write_record(f"data/{number}", numbers.untyped_storage(), numbers.nbytes)
            writer.write_end_of_file()
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
