"""What is installed, and whether torch computes."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from zoowizard.doctor.finding import Finding
from zoowizard.jobs.gpus import found, torch_cuda

INSTALL_AGAIN: Final = "install zoowizard again, in an environment of its own (`uv sync` in a checkout)"
OVERWRITE: Final = {
    "ultralytics": "ultralytics-opencv-headless",
    "opencv-python": "opencv-python-headless",
    "opencv-contrib-python": "opencv-python-headless",
}
"""Packages that overwrite files of another one that is needed."""
TELLING: Final = ("torch", "bioimageio-core", "bioimageio-spec")
"""Packages whose versions a person wants to see."""
SUM_OF_CONVOLUTION: Final = 9 * 36.0
"""A 3 x 3 kernel of ones over 8 x 8 ones gives 6 x 6 nines."""


def packages(root: Path) -> Iterator[Finding]:
    """Python, and the packages that zoowizard needs, by what they say of themselves; nothing is imported."""
    try:
        wanted = importlib.metadata.metadata("zoowizard")["Requires-Python"] or ""
        requirements = importlib.metadata.requires("zoowizard") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("Python", "problem", "zoowizard is not installed, only its files are there", INSTALL_AGAIN)
        return
    yield _python(wanted)
    versions, wrong = {}, []
    for requirement in requirements:
        told = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)", requirement)
        if told is None or "extra ==" in requirement:
            continue
        name, specifiers = re.sub(r"[-_.]+", "-", told[1]).lower(), told[2].strip()
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if not fits(versions[name], specifiers):
            wrong.append(f"{name} is {versions[name]}, but must be {specifiers}")
    shown = ", ".join(f"{name} {versions[name]}" for name in TELLING if name in versions)
    if wrong:
        yield Finding("packages", "problem", "; ".join(wrong), INSTALL_AGAIN)
    else:
        yield Finding("packages", "ok", f"{shown}; all {len(versions)} as zoowizard needs them")
    installed = set()
    for one in importlib.metadata.distributions():
        with contextlib.suppress(FileNotFoundError):  # ruins of one, as the backport of this library sees them
            installed.add((one.metadata["Name"] or "").lower())
    for name, other in OVERWRITE.items():
        if name in installed:
            text = f"{name} and {other} overwrite each other's files"
            yield Finding("packages", "problem", text, f"remove both, then install {other} alone; or {INSTALL_AGAIN}")


def _python(wanted: str) -> Finding:
    version, bits = platform.python_version(), 64 if sys.maxsize > 2**32 else 32
    text = f"{version}, {bits} bit, {sys.executable}"
    if not fits(version, wanted):
        return Finding("Python", "problem", f"{text}; it must be {wanted}", f"install Python {wanted}, then zoowizard")
    if bits < 64:
        return Finding("Python", "problem", text, "install a Python of 64 bit: torch needs it")
    return Finding("Python", "ok", text)


def fits(version: str, specifiers: str) -> bool:
    """Whether a version is within bounds such as `>=2.11,<2.16,!=2.12`. What follows its numbers is not looked at."""
    for specifier in filter(None, (part.strip() for part in specifiers.split(","))):
        told = re.fullmatch(r"(>=|<=|==|!=|<|>)\s*([\d.]+)", specifier)
        if told is None:
            continue
        sign, bound, has = told[1], _numbers(told[2]), _numbers(version)
        longest = max(len(has), len(bound))
        ours, theirs = (numbers + [0] * (longest - len(numbers)) for numbers in (has, bound))
        holds = {
            ">=": ours >= theirs,
            "<=": ours <= theirs,
            "<": ours < theirs,
            ">": ours > theirs,
            "==": ours == theirs,
            "!=": ours != theirs,
        }
        if not holds[sign]:
            return False
    return True


def _numbers(version: str) -> list[int]:
    told = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return [int(part) for part in told[1].split(".")] if told else []


def computes(root: Path) -> Iterator[Finding]:
    """Whether torch can be imported and computes a small convolution, on the CPU and on a GPU where one is usable."""
    if importlib.util.find_spec("torch") is None:
        yield Finding("torch", "problem", "is not installed", INSTALL_AGAIN)
        return
    built = torch_cuda()
    build = f"for CUDA {built}" if built else "for the CPU alone" if built == "" else "build unknown"
    started = time.monotonic()
    try:
        torch = importlib.import_module("torch")
        imported = time.monotonic() - started
        _convolve(torch, "cpu")
    except Exception as problem:  # a broken installation may raise anything
        yield Finding("torch", "problem", f"does not work: {_in_short(problem)}", INSTALL_AGAIN)
        return
    yield Finding("torch", "ok", f"{torch.__version__}, {build}; computes on the CPU, imported in {imported:.1f} s")
    if not found().usable:
        return
    try:
        _convolve(torch, "cuda")
    except Exception as problem:
        mend = "jobs work on the CPU meanwhile; update the driver, or install a torch that fits it"
        yield Finding("torch", "warning", f"does not compute on the GPU: {_in_short(problem)}", mend)
        return
    yield Finding("torch", "ok", f"computes on the GPU ({torch.cuda.get_device_name()})")


def _convolve(torch: Any, device: str) -> None:
    image, kernel = torch.ones(1, 1, 8, 8, device=device), torch.ones(1, 1, 3, 3, device=device)
    total = float(torch.nn.functional.conv2d(image, kernel).sum())
    if total != SUM_OF_CONVOLUTION:
        raise ArithmeticError(f"a convolution on the {device} gives {total} instead of {SUM_OF_CONVOLUTION}")


def _in_short(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else 'no message'}"
