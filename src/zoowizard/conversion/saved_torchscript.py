"""Saving TorchScript without what it remembers of the machine that made it."""

from pathlib import Path
from typing import Any

import torch


def save_torchscript(scripted: Any, path: Path, in_memory: bool = True) -> None:
    """Save a scripted or traced module to `path`, without its debug records.

    Not `in_memory`, a large one takes no memory; but where the disk is full, torch then ends the whole process.

    For error messages TorchScript keeps the source path and the call stack of every operation, packed into records
    that end in `.debug_pkl`: they hold the account, the folders and the environment of whoever converts. Loading
    needs none of them. The records are described in `torch/csrc/jit/docs/serialization.md` of PyTorch.
    """
    whole = path.with_name(f"{path.name}.whole")
    try:
        # to open files, not to paths: torch ends the whole process where the disk is full and it has opened the file
        if in_memory:
            with whole.open("wb") as file:
                torch.jit.save(scripted, file)
        else:
            torch.jit.save(scripted, str(whole))
        without_debug_records(whole, path)
    finally:
        whole.unlink(missing_ok=True)


def without_debug_records(source: Path, path: Path) -> None:
    """Copy a TorchScript file without the records that tell of the machine that made it, as `save_torchscript` has it.

    Raises RuntimeError where torch cannot read it.
    """
    with path.open("wb") as file:
        _copy_without_debug_records(torch._C.PyTorchFileReader(str(source)), torch._C.PyTorchFileWriter(file))


def _copy_without_debug_records(reader: Any, writer: Any) -> None:
    names = reader.get_all_records()
    # the oldest torch that may load it is written into the file: by the writer, and later than it asks for here
    version = "version" if "version" in names else ".data/version"  # the place, too, depends on what may load it
    writer.set_min_version(int(reader.get_record(version)))
    written_by_the_writer = {version, "byteorder", ".data/serialization_id"}
    for name in names:
        if not name.endswith(".debug_pkl") and name not in written_by_the_writer:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
