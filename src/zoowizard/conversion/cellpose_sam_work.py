"""What of the conversion of Cellpose-SAM takes gigabytes, in a process of its own, which gives them back when it ends.

    python -m zoowizard.conversion.cellpose_sam_work FOLDER

`FOLDER/work.json` says what to do (see `Work`); what comes is left in `FOLDER`. On standard output it says how far it
is, and at last what came of it (`Outcome`): one JSON object a line.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.computer import cores

TORCHSCRIPT: Final = "weights-torchscript.pt"
ONNX: Final = "weights.onnx"
OPSET: Final = 20


@dataclass(frozen=True)
class Work:
    """What to do with a state dict: predict, and convert.

    `settings` are the arguments of `CellposeSAM`. `candidates` and `views` are files of normalised images (1, channel,
    y, x) float32; of what is predicted the flows are kept, see `flows_file`. The first candidate with cells is chosen,
    and its labels are kept, see `labels_file`; only if there is one, the views are predicted, and the network is
    converted to `formats`, for a whole image or for `blocks`. With `every`, the candidates after it are predicted, too.
    With `compare_blocks`, the labels of the chosen one are also drawn from blocks, see `in_blocks_file`.
    """

    weights: str
    settings: dict[str, Any]
    candidates: list[str]
    views: list[str]
    cellprob_threshold: float
    flow_threshold: float
    min_size: int
    formats: list[str]
    blocks: bool
    every: bool = False
    compare_blocks: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it: which candidate was chosen, if any, and why a format could not be written, by its name."""

    chosen: int | None
    left_out: dict[str, str]


def do(work: Work, folder: Path, on_progress: Callable[[float, str], object]) -> Outcome:
    """Do the work in a child process. Raises ZoowizardError where that ends without an answer."""
    (folder / "work.json").write_text(json.dumps(asdict(work)), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores())}  # it works alone
    command = [sys.executable, "-P", "-W", "ignore", "-m", __name__, str(folder)]
    child = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    outcome = None
    try:
        assert child.stdout is not None
        for line in child.stdout:
            said = _read(line)
            if "progress" in said:
                on_progress(*said["progress"])
            elif "outcome" in said:
                outcome = Outcome(**said["outcome"])
        code = child.wait()
    finally:
        child.kill()
        child.wait()
    if code == -signal.SIGKILL:
        raise ZoowizardError(
            "the network could not be converted: the process was killed, most often because the memory ran out; it "
            "needs some 4 GB"
        )
    if code != 0 or outcome is None:
        raise ZoowizardError("the network could not be converted; the log has the details")
    return outcome


def _read(line: str) -> Mapping[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}  # a library that prints
    return said if isinstance(said, Mapping) else {}


def main(arguments: Sequence[str]) -> int:
    """In the child process. Gives the exit code 0."""
    folder = Path(arguments[0])
    work = Work(**json.loads((folder / "work.json").read_text(encoding="utf-8")))
    _say(progress=(0.1, "loading the network"))
    network = _network(work)
    chosen = _predict(work, network, folder)
    left_out: dict[str, str] = {}
    for name in work.formats if chosen is not None else ():
        _say(progress=(0.6, f"converting to {name}"))
        try:
            CONVERT[name](network, work.blocks, folder)
        except Exception as problem:
            traceback.print_exc()
            lines = str(problem).strip().splitlines() or ["no message"]
            left_out[name] = f"{type(problem).__name__}: {lines[0]}"
    _say(outcome=asdict(Outcome(chosen, left_out)))
    return 0


def _say(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _network(work: Work) -> Any:
    """The network with its weights mapped into memory, never copied."""
    import torch

    from zoowizard.conversion.cellpose_network import CellposeSAM
    from zoowizard.conversion.cellpose_sam_weights import read_state_dict

    with torch.device("meta"):
        network = CellposeSAM(**work.settings)
    network.load_state_dict(read_state_dict(Path(work.weights)), strict=True, assign=True)
    return network.eval()


def flows_file(name: str) -> str:
    """The file of the flows (3, y, x) float32 that the network gives for the input in the file `name`."""
    return f"flows-{name}"


def labels_file(name: str) -> str:
    """The file of the labels (y, x) uint16 of the candidate in the file `name`."""
    return f"labels-{name}"


def in_blocks_file(name: str) -> str:
    """The file of the labels (y, x) uint16 of the candidate in the file `name`, of blocks."""
    return f"in-blocks-{name}"


def _draw_in_blocks(work: Work, network: Any, folder: Path, name: str) -> None:
    import torch

    from zoowizard.conversion.cellpose_blocks import in_blocks
    from zoowizard.conversion.cellpose_sam_torchscript import OfTiles
    from zoowizard.conversion.cellpose_sam_views import BLOCK_PX, HALO_PX

    tiles = OfTiles(network)

    def predict(block: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(tiles(torch.from_numpy(block)))

    flows = in_blocks(predict, np.load(folder / name), BLOCK_PX, HALO_PX)[0]
    np.save(
        folder / in_blocks_file(name), labels_of(flows, work.cellprob_threshold, work.flow_threshold, work.min_size)
    )


def _predict(work: Work, network: Any, folder: Path) -> int | None:
    chosen = None
    for number, name in enumerate(work.candidates):
        _say(progress=(0.15, "predicting the test image"))
        flows = _flows_of(network, folder, name)
        labels = labels_of(flows, work.cellprob_threshold, work.flow_threshold, work.min_size)
        if labels.any():
            np.save(folder / labels_file(name), labels)
            chosen = number if chosen is None else chosen
            if not work.every:
                break
    for number, name in enumerate(work.views if chosen is not None else ()):
        _say(progress=(0.2 + 0.4 * number / len(work.views), "predicting other parts of it"))
        if not (folder / flows_file(name)).exists():
            _flows_of(network, folder, name)
    if work.compare_blocks and chosen is not None:
        _draw_in_blocks(work, network, folder, work.candidates[chosen])
    return chosen


def _flows_of(network: Any, folder: Path, name: str) -> Array:
    import torch

    with torch.inference_mode():
        flows = network(torch.from_numpy(np.load(folder / name)))[0].numpy()
    np.save(folder / flows_file(name), flows)
    return np.asarray(flows)


def labels_of(flows: Array, cellprob_threshold: float, flow_threshold: float, min_size: int) -> Array:
    """The label image (y, x) uint16 that bioimageio.core's `cellpose_flow_dynamics` makes of flows (3, y, x)."""
    from cellpose.dynamics import compute_masks  # type: ignore[import-untyped]
    from cellpose.utils import fill_holes_and_remove_small_masks  # type: ignore[import-untyped]

    masks = compute_masks(
        flows[:2], flows[2], cellprob_threshold=cellprob_threshold, flow_threshold=flow_threshold, do_3D=False
    )
    return np.asarray(fill_holes_and_remove_small_masks(masks, min_size=min_size), np.uint16)


def _to_torchscript(network: Any, blocks: bool, folder: Path) -> None:
    from zoowizard.conversion.cellpose_sam_torchscript import scripted
    from zoowizard.conversion.saved_torchscript import save_torchscript

    save_torchscript(scripted(network, blocks), folder / TORCHSCRIPT, in_memory=False)


def _to_onnx(network: Any, blocks: bool, folder: Path) -> None:
    """For blocks only: how many tiles a whole image has, the exporter cannot say."""
    import torch

    from zoowizard.conversion.cellpose_sam_torchscript import TILE_PX, Block, OfTiles

    if not blocks:
        raise NotImplementedError("ONNX is written for blocks only")
    block = Block(OfTiles(network)).eval()
    example = torch.rand(2, 3 - network.missing_channels, TILE_PX + 2, TILE_PX + 4)
    dynamic = {"image": {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    with torch.inference_mode(False), torch.no_grad():
        torch.onnx.export(
            block,
            (example,),
            folder / ONNX,
            input_names=["image"],
            output_names=["flows"],
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


CONVERT: Final[Mapping[str, Callable[[Any, bool, Path], None]]] = {"torchscript": _to_torchscript, "onnx": _to_onnx}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
