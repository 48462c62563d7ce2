"""What a Cellpose package costs to build and to run, over doing the same by hand and over Cellpose itself.

build   CPnet: `zoowizard build`, end to end, over the same library calls by hand in one process that has everything
        imported already: target 1.25;
memory  Cellpose-SAM: the most memory of a build and all its processes, in GB (target 5.5), and over its weights;
run     CPnet: a package through bioimageio.core, network and labels, on 2048 x 2048 pixels, over `CellposeModel.eval`
        of cellpose 3.1.1.2 with as many threads: target 1.1;
run-sam the same with Cellpose-SAM over cellpose 4 in float32; takes half an hour on two cores.

    uv run python benchmarks/cellpose.py [build] [memory] [run] [run-sam] [ROUNDS]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml
from measure import cost_of, in_turns, peak_memory_of, say, zoowizard

from zoowizard.environments import clean_variables, interpreter

TESTS: Final = Path(__file__).resolve().parents[1] / "tests"
CHILD: Final = Path(__file__).resolve().parents[1] / "src/zoowizard/conversion/cellpose_child.py"
MOST_GB: Final = 5.5
ANSWERS: Final = {
    "name": "Cells of a benchmark",
    "description": "Finds cells in drawn images and gives each a number of its own.",
    "category": "Community Interest Models",
    "authors": [{"name": "The zoowizard developers"}],
    "tags": ["fluorescence-light-microscopy", "2d", "cells", "instance-segmentation"],
    "modality": "fluorescence microscopy",
    "license": "MIT",
    "training_data_name": "Drawn cells",
    "training_data_source": "Drawn by the tests of zoowizard",
    "training_data_license": "CC0-1.0",
    "test_image": "cells.png",
    "intended_use": "Measuring how long zoowizard takes.",
    "limitations": "It never saw a real image.",
}
DRAW = """
import sys
sys.path.insert(0, sys.argv[1])
import imageio.v3 as iio, numpy as np
from {module} import cells
part = {call}
iio.imwrite(sys.argv[2], part)
np.save(sys.argv[3], np.tile(part, (4, 4)))
"""
WRITE_SAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cellpose_sam_models import TRUE_SIZE, write_checkpoint
write_checkpoint(Path(sys.argv[2]), TRUE_SIZE)
"""
BY_HAND = """
import json, sys, time
from pathlib import Path
import numpy as np
import bioimageio.core, torch, torch._dynamo
from zoowizard.conversion import cellpose, cellpose_network
from zoowizard.drafts.images import MICROSCOPY, read_image
from zoowizard.jobs.steps import Steps
from zoowizard.library import clean
from zoowizard.packaging import describe, matching, pictures
from zoowizard.library.archive import sha256, write_archive
from zoowizard.packaging.card import Validation, model_card
from zoowizard.packaging.cover import write_cover

checkpoint, image_path, values_path, root = map(Path, sys.argv[1:])
values = json.loads(values_path.read_text())


def by_hand(folder):
    folder.mkdir()
    with Steps(folder / "events").step("convert") as step:
        image = read_image(image_path, MICROSCOPY)
        converted = cellpose.convert(checkpoint, values, image, folder, step)
    contents = folder / "contents"
    contents.mkdir()
    describe.write_tensors(converted, contents)
    write_cover(image, converted.labels, contents / "cover.png")
    for one in converted.weights:
        for path in (one.path, *one.files):
            (contents / path.name).hardlink_to(path)
    (contents / "README.md").write_text(model_card(values, Validation()))
    provenance = describe.Provenance("cellpose", sha256(checkpoint), {})
    described = describe.describe(values, converted, converted.weights, provenance, {}, [])
    description = describe.write_description(described, contents)
    views = list((converted.native.pictures or pictures.comparison_pictures)(image).values())
    inputs = []
    for number, view in enumerate(views):
        np.save(folder / f"{number}.npy", converted.native.to_input(view))
        inputs.append(folder / f"{number}.npy")
    native = []
    for view in views:
        native.append(converted.native.predict(view))
        converted.native.differences(view)
    for one in converted.weights:
        outputs = [folder / f"{one.weight_format}-{number}.npz" for number in range(len(inputs))]
        clean.predict(description, one.weight_format, inputs, outputs)
        matching.parity((truth, np.load(path)["labels"][0, 0]) for truth, path in zip(native, outputs))
    converted.native.close()
    archive = folder / "package.zip"
    write_archive({path.name: path for path in contents.iterdir()}, archive)
    for one in converted.weights:
        assert clean.test_format(archive, one.weight_format)["status"] == "passed"


by_hand(root / "warm-up")
for line in sys.stdin:
    started = time.perf_counter()
    by_hand(root / line.strip())
    print("seconds", time.perf_counter() - started, flush=True)
"""
BY_PACKAGE = """
import sys, time
import numpy as np, torch
from bioimageio.core import create_prediction_pipeline
from bioimageio.core.digest_spec import create_sample_for_model
from bioimageio.spec import load_model_description

torch.set_num_threads(int(sys.argv[3]))
model = load_model_description(sys.argv[1], perform_io_checks=False)
image = np.load(sys.argv[2])[None, None]
with create_prediction_pipeline(model, weight_format="pytorch_state_dict", devices=["cpu"]) as pipeline:
    for line in sys.stdin:
        started = time.perf_counter()
        sample = create_sample_for_model(model, inputs={str(model.inputs[0].id): image}, sample_id="image")
        labels = pipeline.predict_sample_without_blocking(sample).members["labels"].data.to_numpy()
        assert labels.max() > 100
        print("seconds", time.perf_counter() - started, flush=True)
"""
BY_CELLPOSE = """
import json, runpy, sys, time
import numpy as np, torch

load = runpy.run_path(sys.argv[1])["load"]
torch.set_num_threads(int(sys.argv[3]))
model, arguments = load(json.loads(sys.argv[4])), json.loads(sys.argv[5])
image = np.load(sys.argv[2])
for line in sys.stdin:
    started = time.perf_counter()
    assert model.eval(image, **arguments)[0].max() > 100
    print("seconds", time.perf_counter() - started, flush=True)
"""


class Warm:
    """A process that does one thing again and again; calling it gives the seconds that it took."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._rounds = 0

    def __call__(self) -> float:
        """Do it once. Raises RuntimeError where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._rounds += 1
        self._process.stdin.write(f"round-{self._rounds}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("seconds"):
                return float(line.split()[1])
        raise RuntimeError("a process that was to be timed ended")

    def end(self) -> None:
        """Let go of it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def trained(root: Path) -> Path:
    """A CPnet checkpoint of the true size, trained for seconds by cellpose 3, with a test image beside it."""
    environment = clean_variables() | {"CELLPOSE_LOCAL_MODELS_PATH": str(root)}
    script = str(TESTS / "cellpose_models.py")
    cost_of([str(interpreter("zoo")), "-I", script, "true-size", str(root)], environment)
    _draw(root, "cellpose_models", "cells((512, 512), 26, 130)")
    return root / "models" / "true-size"


def cellpose_sam(root: Path) -> Path:
    """A Cellpose-SAM checkpoint of the true size with random weights that finds cells, with a test image beside it."""
    path = root / "cpsam_benchmark"
    environment = {**os.environ, "CELLPOSE_LOCAL_MODELS_PATH": str(root)}
    cost_of([sys.executable, "-P", "-W", "ignore", "-c", WRITE_SAM, str(TESTS), str(path)], environment)
    _draw(root, "cellpose_sam_models", "cells((512, 512), 3)")
    return path


def _draw(root: Path, module: str, call: str) -> None:
    code = DRAW.format(module=module, call=call)
    cost_of([sys.executable, "-P", "-c", code, str(TESTS), str(root / "cells.png"), str(root / "large.npy")])
    (root / "answers.yaml").write_text(yaml.safe_dump(ANSWERS))


def _build(checkpoint: Path, root: Path, folder: Path) -> list[str]:
    places = ("--json", "--workspace", folder / "w", "--output", folder)
    return zoowizard("build", checkpoint, "--answers", root / "answers.yaml", *places)


def _job(folder: Path) -> Path:
    [job] = (folder / "w" / "models").glob("*/jobs/*")
    return job


def build(root: Path, rounds: int) -> bool:
    """CPnet, end to end, over the calls by hand."""
    checkpoint, first = trained(root), root / "first"
    cost_of(_build(checkpoint, root, first))
    values = root / "values.json"
    values.write_text(json.dumps(json.loads((_job(first) / "job.json").read_text())["work"]["values"]))
    arguments = [str(checkpoint), str(root / "cells.png"), str(values), str(root)]
    by_hand = Warm([sys.executable, "-P", "-W", "ignore", "-c", BY_HAND, *arguments], os.environ)
    by_hand()  # until it is warm

    def ours() -> float:
        return cost_of(_build(checkpoint, root, Path(tempfile.mkdtemp(dir=root)))).wall_s

    met = say("CPnet: build / library calls, warm", *in_turns(ours, by_hand, rounds), 1.25)
    by_hand.end()
    return met


def memory(root: Path) -> bool:
    """Cellpose-SAM: the peak of a build."""
    checkpoint, folder = cellpose_sam(root), root / "memory"
    started = time.perf_counter()
    peak = peak_memory_of(_build(checkpoint, root, folder))
    seconds, weights = time.perf_counter() - started, checkpoint.stat().st_size / 1e9
    met = peak <= MOST_GB
    print(
        f"Cellpose-SAM: peak memory / weights {peak:8.2f} GB / {weights:7.2f} GB = {peak / weights:6.2f}  "
        f"(target {MOST_GB} GB: {'met' if met else 'MISSED'}); {seconds:.0f} s",
        flush=True,
    )
    return met


def run(root: Path, rounds: int, sam: bool) -> bool:
    """A package on a large image, over `CellposeModel.eval`."""
    checkpoint = cellpose_sam(root) if sam else trained(root)
    folder, threads = root / "run", str(len(os.sched_getaffinity(0)))
    cost_of(_build(checkpoint, root, folder))
    [package] = folder.glob("*.zip")
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder / "contents")
    description = folder / "contents" / "rdf.yaml"
    described = yaml.safe_load(description.read_text())
    [dynamics] = described["outputs"][0]["postprocessing"]
    network = described["weights"]["pytorch_state_dict"]["architecture"]["kwargs"]
    arguments = {name: dynamics["kwargs"][name] for name in ("flow_threshold", "cellprob_threshold", "min_size")}
    model: dict[str, object] = {"checkpoint": str(checkpoint)}
    if sam:
        python, arguments["batch_size"] = Path(sys.executable), 1
    else:
        python, arguments["channels"] = interpreter("zoo"), [0, 0]
        values = json.loads((_job(folder) / "job.json").read_text())["work"]["values"]
        model |= {name: values[name] for name in ("nbase", "diam_mean", "diam_labels", "style")}
    arguments["diameter"] = network.get("diameter")
    quiet = clean_variables() | {"CELLPOSE_LOCAL_MODELS_PATH": str(root), "OMP_NUM_THREADS": threads}
    image = str(root / "large.npy")
    told = [json.dumps(model), json.dumps(arguments)]
    ours = Warm([sys.executable, "-P", "-W", "ignore", "-c", BY_PACKAGE, str(description), image, threads], quiet)
    theirs = Warm([str(python), "-P", "-W", "ignore", "-c", BY_CELLPOSE, str(CHILD), image, threads, *told], quiet)
    if not sam:
        ours(), theirs()
    name = "Cellpose-SAM" if sam else "CPnet"
    met = say(f"{name}: package / eval, 2048 x 2048", *in_turns(ours, theirs, rounds), 1.1)
    ours.end()
    theirs.end()
    return met


def main(arguments: list[str]) -> int:
    """Print what is asked for, all but `run-sam` where nothing is; gives 1 where a target is missed."""
    rounds = next((int(one) for one in arguments if one.isdecimal()), 3)
    asked = [one for one in arguments if not one.isdecimal()] or ["build", "memory", "run"]
    os.environ["ZOOWIZARD_WARM"] = "0"
    met = True
    for one in asked:
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary)
            if one == "build":
                met &= build(root, rounds)
            elif one == "memory":
                met &= memory(root)
            else:
                met &= run(root, 1 if one == "run-sam" else rounds, one == "run-sam")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
