"""What the driver of the GPUs tells, as one line of JSON: `python -m zoowizard.jobs.cuda`.

It asks the CUDA driver itself, so that it sees what a job would see: CUDA_VISIBLE_DEVICES, the order of the GPUs and
their parts (MIG). A process of its own, because a damaged driver may crash whoever asks it, or never answer.

    {"error": number, "words": what the driver says to it, "cuda": 13020, "gpus": [{"uuid", "name", "memory_bytes"}]}

Source: CUDA Driver API, https://docs.nvidia.com/cuda/cuda-driver-api
"""

import ctypes
import json
import os
import sys
from typing import Any, Final

LIBRARY: Final = "libcuda.so.1"
NO_LIBRARY: Final = -1
"""Where the driver's library cannot be loaded; the numbers of the driver itself are not below 0."""
LONGEST_NAME: Final = 256


class _Refused(Exception):
    """The driver gave an error; `number` is its own (CUresult)."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def ask() -> dict[str, Any]:
    """What there is to tell, see above. `error` is 0 where the driver answered."""
    told: dict[str, Any] = {"error": 0, "words": "", "cuda": 0, "gpus": []}
    try:
        library = ctypes.CDLL(os.environ.get("ZOOWIZARD_LIBCUDA") or LIBRARY)
    except OSError as problem:
        return {**told, "error": NO_LIBRARY, "words": str(problem)}
    try:
        version = ctypes.c_int()
        _call(library, "cuDriverGetVersion", ctypes.byref(version))
        told["cuda"] = version.value
        _call(library, "cuInit", 0)
        count = ctypes.c_int()
        _call(library, "cuDeviceGetCount", ctypes.byref(count))
        told["gpus"] = [_gpu(library, number) for number in range(count.value)]
    except _Refused as problem:
        told |= {"error": problem.number, "words": _words(library, problem.number)}
    return told


def _gpu(library: ctypes.CDLL, number: int) -> dict[str, Any]:
    device, memory_bytes = ctypes.c_int(), ctypes.c_size_t()
    uuid, name = (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(LONGEST_NAME)
    _call(library, "cuDeviceGet", ctypes.byref(device), number)
    # the first version gives of a part (MIG) the number of the whole GPU
    newest = "cuDeviceGetUuid_v2" if hasattr(library, "cuDeviceGetUuid_v2") else "cuDeviceGetUuid"
    _call(library, newest, ctypes.byref(uuid), device)
    _call(library, "cuDeviceGetName", name, LONGEST_NAME, device)
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory_bytes), device)
    title = name.value.decode("utf-8", "replace")
    digits = bytes(uuid).hex()
    grouped = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    kind = "MIG" if " MIG " in f"{title} " else "GPU"
    return {"uuid": f"{kind}-{grouped}", "name": title, "memory_bytes": memory_bytes.value}


def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    if number := int(getattr(library, name)(*arguments)):
        raise _Refused(number)


def _words(library: ctypes.CDLL, number: int) -> str:
    text = ctypes.c_char_p()
    if not hasattr(library, "cuGetErrorString") or library.cuGetErrorString(number, ctypes.byref(text)):
        return ""
    return (text.value or b"").decode("utf-8", "replace")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask()) + "\n")
