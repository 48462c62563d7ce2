"""The GPUs of this computer, found without importing torch, and whether the installed torch can use them."""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ANSWERS_WITHIN_S: Final = 20.0
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
NONE_WANTED: Final = ("", "-1")
"""What a person writes into CUDA_VISIBLE_DEVICES so that no GPU is used."""
_SIGNS: Final = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia"), Path("/dev/dxg"))
"""One of these is there where a driver is; the last one is that of Windows below Linux."""
_NO_DEVICE, _OTHER_DRIVER, _NO_LIBRARY = 100, 803, -1
_OUT_OF_MEMORY: Final = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA failure 2: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What torch, cuDNN, cuBLAS and onnxruntime say where the memory of the GPU is too small."""
_ARENA: Final = "BFCArena"
"""Where onnxruntime keeps memory, of the GPU or of the computer; it does not say of which."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, or a part of one (MIG): `uuid` as CUDA_VISIBLE_DEVICES takes it."""

    uuid: str
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Gpus:
    """What was found: the GPUs that a job would see, in its order.

    `driver` is the version of the driver, `cuda` the newest CUDA it knows, `torch_cuda` the one that the installed
    torch was built for; each is empty where it is not known. `problem` says in a sentence why no GPU can be used
    although one may be there, and what to do; empty where all is well.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    torch_cuda: str = ""
    problem: str = ""

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """Those that the installed torch can work with."""
        return () if self.problem else self.gpus


class Search:
    """Asks the driver, in a process of its own; where there is none, nothing is started."""

    def __init__(self) -> None:
        """Begin to ask."""
        self._found: Gpus | None = None
        self._until = time.monotonic() + ANSWERS_WITHIN_S
        self._child: subprocess.Popen[bytes] | None = None
        if not _is_there(os.environ):
            self._found = Gpus(torch_cuda=torch_cuda() or "")
            return
        command = [sys.executable, "-P", "-m", "zoowizard.jobs.cuda"]
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as problem:
            self._found = Gpus(problem=f"the GPU is not used: its driver could not be asked ({problem.strerror})")

    def result(self) -> Gpus | None:
        """What was found; None as long as the driver is asked, which is 20 seconds at most."""
        if self._found is None and self._child is not None:
            code = self._child.poll()
            if code is not None and self._child.stdout is not None:
                self._found = _judged(self._child.stdout.read(), code)
                self._child.stdout.close()
            elif time.monotonic() > self._until:
                self.close()
                self._found = _about(
                    f"its driver did not answer within {ANSWERS_WITHIN_S:g} seconds; restarting the computer mends that"
                )
        return self._found

    def close(self) -> None:
        """Ask no longer."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()  # not waited for: whoever hangs in the driver may not even hear this


def found() -> Gpus:
    """What is there; takes a second where there is a driver, 20 at most, and next to nothing where there is none."""
    search = Search()
    while (answer := search.result()) is None:
        time.sleep(0.02)
    return answer


def torch_cuda() -> str | None:
    """The CUDA that the installed torch was built for, as `13.2`, read from its files.

    Empty where it was built for the CPU alone; None where there is no torch, or its files do not tell.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    told = re.search(r"^cuda\b[^=\n]*=\s*(?:None|['\"]([\d.]*)['\"])", text, re.MULTILINE)
    return (told[1] or "") if told else None


def is_want_of_gpu_memory(problem: BaseException) -> bool:
    """Whether something failed because the memory of the GPU was too small, here or in a process that told of it."""
    chain: list[BaseException] = []
    earlier: BaseException | None = problem
    while earlier is not None and earlier not in chain:
        chain.append(earlier)
        earlier = earlier.__cause__ or earlier.__context__
    if any(type(one).__module__.startswith("torch") and type(one).__name__ == "OutOfMemoryError" for one in chain):
        return True
    said = " ".join(str(one) for one in chain)
    signs = (*_OUT_OF_MEMORY, _ARENA) if _onnxruntime_uses_gpus() else _OUT_OF_MEMORY
    return any(sign in said for sign in signs)


def _onnxruntime_uses_gpus() -> bool:
    try:
        importlib.metadata.distribution("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _is_there(environment: Mapping[str, str]) -> bool:
    if environment.get(VISIBLE, "all").strip() in NONE_WANTED:
        return False
    return "ZOOWIZARD_LIBCUDA" in environment or any(sign.exists() for sign in _SIGNS)


def _judged(said: bytes, code: int) -> Gpus:
    """The answer of the driver, and whether torch can work with it."""
    try:
        told = json.loads(said)
        error, words, cuda = int(told["error"]), str(told["words"]), int(told["cuda"])
        gpus = tuple(Gpu(str(one["uuid"]), str(one["name"]), int(one["memory_bytes"])) for one in told["gpus"])
    except (ValueError, KeyError, TypeError):
        return _about(f"asking its driver ended the process (exit code {code}); install the driver again")
    known = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""
    return _about(_why_unusable(error, words, gpus, known), cuda=known, gpus=gpus)


def _about(why: str, **known: Any) -> Gpus:
    problem = why and (why if why.startswith(VISIBLE) else f"the GPU is not used: {why}")
    return Gpus(driver=_driver(), torch_cuda=torch_cuda() or "", problem=problem, **known)


def _why_unusable(error: int, words: str, gpus: tuple[Gpu, ...], cuda: str) -> str:
    visible, built_for = os.environ.get(VISIBLE), torch_cuda()
    if error == _NO_DEVICE or (not error and not gpus):
        return f"{VISIBLE} is {visible!r}, which is no GPU of this computer; mend or unset it" if visible else ""
    if error == _NO_LIBRARY:
        return f"the library of its driver cannot be loaded ({words}); install the driver again"
    if error == _OTHER_DRIVER:
        return "its driver was renewed while the computer ran; restart the computer"
    if error:
        return f"its driver refuses with error {error} ({words or 'no message'}); `nvidia-smi` may tell more"
    if built_for == "":
        return f"the installed torch works on the CPU only; install the build of torch for CUDA {cuda}"
    if built_for and int(cuda.partition(".")[0] or 0) < int(built_for.partition(".")[0]):
        driver = f"its driver {_driver()}".strip()
        return (
            f"{driver} is too old: it knows CUDA {cuda}, and the installed torch needs CUDA {built_for}; "
            f"update the driver, or install a torch that was built for CUDA {cuda}"
        )
    return ""


def _driver() -> str:
    """The version of the driver, such as 570.86.15; empty where the system does not tell."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    told = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", text)
    return told[0] if told else ""
