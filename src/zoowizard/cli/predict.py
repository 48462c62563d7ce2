"""The command `predict`: a package, applied to images."""

import argparse
from pathlib import Path

from zoowizard.cli.build import finish
from zoowizard.cli.output import printable_lines, workspace_of
from zoowizard.cli.settings import settings_of

AXES = "tczyx"


def predict(given: argparse.Namespace) -> int:
    """Apply a package to an image, a folder of images or a volume."""
    from zoowizard.jobs.state import read_job
    from zoowizard.launch import start_predict

    workspace = workspace_of(given)
    asked = {
        "axes": given.axes or "",
        "channel": given.channel or "",
        "scale": given.scale,
        "block": given.block,
        "weights": given.weights,
        "overwrite": given.overwrite,
    }
    folder = start_predict(
        workspace,
        given.package,
        given.input,
        given.output,
        asked,
        given.time_limit * 60,
        settings_of(given, workspace.root),
        given.priority,
    )
    code = finish([folder], given)
    if not (given.json or given.detach):
        outputs = (read_job(folder).outcome or {}).get("outputs") or ()
        if len(outputs) > 1:
            print(printable_lines(f"{len(outputs)} predictions: {given.output}"))
        for path in outputs if len(outputs) == 1 else ():
            print(printable_lines(f"prediction: {path}"))
    return code


def add_predict(command: argparse.ArgumentParser) -> None:
    """The arguments of `predict` that are its own."""
    command.add_argument("package", type=Path, metavar="PACKAGE", help="the zip of a package, or its rdf.yaml")
    command.add_argument(
        "input", type=Path, metavar="INPUT", help="an image (PNG, TIFF, npy), a folder of images, or an OME-Zarr"
    )
    command.add_argument(
        "output", type=Path, metavar="OUTPUT", help="a file (.tif, .png, .npy), an OME-Zarr (.zarr), or a folder"
    )
    asked = command.add_argument_group("what is predicted")
    asked.add_argument(
        "--axes", type=_axes, metavar="AXES", help="the image's axes, such as tczyx, where it tells none"
    )
    asked.add_argument(
        "--channel",
        type=_channel,
        metavar="N",
        help="the image's channels to be used, from 0, such as 0 or 0,2; `each` predicts each by itself",
    )
    asked.add_argument("--scale", metavar="NAME", default="", help="of an OME-Zarr another than its full resolution")
    asked.add_argument(
        "--block",
        type=_block,
        metavar="PIXELS",
        default=[],
        help="sides of the blocks, such as 128 or 32,256,256 (z, y, x); smaller ones need less memory",
    )
    asked.add_argument("--weights", metavar="FORMAT", default="", help="the weight format, such as torchscript or onnx")
    asked.add_argument("--overwrite", action="store_true", help="replace what is there already")


def _axes(text: str) -> str:
    letters = text.lower()
    if not letters or set(letters) - set(AXES) or len(set(letters)) != len(letters):
        raise argparse.ArgumentTypeError(f"{text} names no axes; write each once, out of t, c, z, y, x, such as zyx")
    if not {"y", "x"} <= set(letters):
        raise argparse.ArgumentTypeError(f"{text} lacks y or x; write all axes of the image, such as zyx")
    return letters


def _channel(text: str) -> str:
    if text != "each" and not all(one.isascii() and one.isdecimal() for one in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text} is no channel; write numbers from 0, such as 0 or 0,2, or each")
    return text


def _block(text: str) -> list[int]:
    sides = text.split(",")
    if not all(one.isascii() and one.isdecimal() and 0 < int(one) < 1_000_000 for one in sides):
        raise argparse.ArgumentTypeError(f"{text} is no size; write pixels, such as 128 or 32,256,256")
    return [int(one) for one in sides]
