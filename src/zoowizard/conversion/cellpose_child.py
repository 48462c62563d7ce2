"""Cellpose itself, asked from another process: run as a script by a Python that has cellpose 3 or 4.

Needs numpy, torch and cellpose, nothing of zoowizard. Standard input and output carry one JSON object a line:

- `checkpoint` (path) loads a model; one of Cellpose 1 to 3 needs `nbase`, `diam_mean` (px), `diam_labels` (px) and
  `style` as well, which its file does not hold in every version.
- `picture` (.npy: y, x or y, x, channel) is predicted by that model with `arguments` for `CellposeModel.eval`; labels
  (y, x) and flows (3, y, x) float32 (along y, along x, cell probability) are written to `answer` (.npz).
- `flows` (.npy: 3, y, x) become labels (y, x) as the zoo's library makes them, with `arguments` cellprob_threshold,
  flow_threshold and min_size; they are written to `answer`. No model is needed.

Each is answered by `{"version": …}` of cellpose, or by `{"error": …}`.
"""

import importlib
import json
import os
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

STYLE_WIDTH = 256
"""`cellpose.core.run_net` of cellpose 3 has room for this many numbers of style and no other."""


def load(model: dict[str, Any]) -> Any:
    """A `CellposeModel` whose parameters are those of the file and no others. Raises ValueError, RuntimeError."""
    checkpoint = Path(model["checkpoint"])
    if not checkpoint.is_file():  # cellpose would fetch another model and use that
        raise ValueError(f"{checkpoint} does not exist")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(checkpoint))
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    loaded = _cellpose_sam(checkpoint) if "W2" in state else _cellpose(model, state)
    held = loaded.net.state_dict()
    for name, tensor in state.items():
        if name not in held or not torch.equal(held[name].float(), tensor.float()):
            raise ValueError(f"cellpose did not load `{name}` as it is in {checkpoint.name}")
    loaded.net.eval()
    return loaded


def _module(name: str) -> Any:
    return importlib.import_module(f"cellpose.{name}")


def _cellpose_sam(checkpoint: Path) -> Any:
    return _module("models").CellposeModel(gpu=False, pretrained_model=str(checkpoint), use_bfloat16=False)


def _cellpose(model: dict[str, Any], state: dict[str, torch.Tensor]) -> Any:
    # without a file it loads none, and so it cannot take another one
    loaded = _module("models").CellposeModel(gpu=False, pretrained_model=False, nchan=model["nbase"][0])
    network = _module("resnet_torch").CPnet(
        list(model["nbase"]), 3, 3, mkldnn=loaded.mkldnn, diam_mean=model["diam_mean"]
    )
    network.style_on = bool(model["style"])
    missing, unknown = network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    if unknown or set(missing) - {"diam_mean", "diam_labels"}:  # which cellpose 1 did not write
        raise ValueError(f"cellpose 3 cannot load this network: {[*missing, *unknown][0]} does not fit")
    width = model["nbase"][-1]
    if width != STYLE_WIDTH:
        network.forward = _with_room(network.forward, width)
    loaded.net, loaded.nbase = network, list(model["nbase"])
    loaded.diam_mean, loaded.diam_labels = np.float32(model["diam_mean"]), np.float32(model["diam_labels"])
    return loaded


def _with_room(forward: Callable[..., Any], width: int) -> Callable[..., Any]:
    """A network whose style is `STYLE_WIDTH` wide, with zeros or cut; only the size model reads it."""

    def wide(tiles: torch.Tensor) -> Any:
        flows, style, scales = forward(tiles)
        return flows, torch.nn.functional.pad(style, (0, STYLE_WIDTH - width)), scales

    return wide


def predict(model: Any, request: dict[str, Any]) -> None:
    """Write labels and flows of one image."""
    picture = np.load(request["picture"], allow_pickle=False)
    labels, flows = model.eval(picture, **request["arguments"])[:2]
    found = np.concatenate([flows[1], flows[2][None]]).astype(np.float32)
    np.savez(request["answer"], labels=np.asarray(labels).reshape(picture.shape[:2]), flows=found)


def draw(request: dict[str, Any]) -> None:
    """Write the labels that `cellpose_flow_dynamics` of bioimageio.core makes of flows, in the same two steps."""
    flows, thresholds = np.load(request["flows"], allow_pickle=False), dict(request["arguments"])
    min_size = thresholds.pop("min_size")
    labels = _module("dynamics").compute_masks(flows[:2], flows[2], do_3D=False, **thresholds)
    np.savez(request["answer"], labels=_module("utils").fill_holes_and_remove_small_masks(labels, min_size=min_size))


def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Answer until there is nothing more to ask."""
    _end_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # cellpose prints to standard output
    _module("dynamics")  # takes seconds, while the other side prepares its question

    model = None
    for line in sys.stdin:
        request = json.loads(line)
        told = {"version": _version()}
        try:
            if "checkpoint" in request:
                model = load(request)
            elif "flows" in request:
                draw(request)
            else:
                predict(model, request)
        except Exception as problem:
            told["error"] = f"{type(problem).__name__}: {(str(problem).strip().splitlines() or ['no message'])[0]}"
        print(json.dumps(told), file=answers, flush=True)


def _version() -> str:
    from importlib.metadata import version

    return version("cellpose")


if __name__ == "__main__":
    main()
