"""How long `zoowizard build` takes, end to end, over two other ways to the same package.

(a) over the same library calls made by hand in one process that has everything imported already: target 1.25;
(b) over the way a person does it today: export with the framework's command line, a script that writes the description,
    `bioimageio test`: target 0.7.

    uv run python benchmarks/build.py [ROUNDS]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import cost_of, in_turns, say, zoowizard

from zoowizard.assets import asset

RUN, ANSWERS, IMAGE = asset("sample/nuclei-yolo11n"), asset("sample/answers.yaml"), asset("sample/nuclei-512.png")
CHECKPOINT = RUN / "weights" / "best.pt"

BY_HAND = """
import json, sys, time
from pathlib import Path
import numpy as np
import bioimageio.core, onnx, onnxruntime, onnxscript, scipy.sparse
import torch, torch._dynamo, torchvision, ultralytics
from zoowizard.conversion import yolo, yolo_network, yolo_onnx
from zoowizard.drafts.images import read_image
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
        image = read_image(image_path)
        converted = yolo.convert(checkpoint, values, image, folder, step)
    contents = folder / "contents"
    contents.mkdir()
    describe.write_tensors(converted, contents)
    write_cover(image, converted.outputs[0].sample, contents / "cover.png")
    for one in converted.weights:
        (contents / one.path.name).hardlink_to(one.path)
    (contents / "README.md").write_text(model_card(values, Validation()))
    provenance = describe.Provenance("yolo", sha256(checkpoint), {})
    described = describe.describe(values, converted, converted.weights, provenance, {}, [])
    description = describe.write_description(described, contents)
    views = list(pictures.comparison_pictures(image).values())
    inputs = []
    for number, view in enumerate(views):
        np.save(folder / f"{number}.npy", converted.native.to_input(view))
        inputs.append(folder / f"{number}.npy")
    native = [converted.native.predict(view) for view in views]
    for one in converted.weights:
        outputs = [folder / f"{one.weight_format}-{number}.npz" for number in range(len(inputs))]
        clean.predict(description, one.weight_format, inputs, outputs)
        matching.parity((truth, np.load(path)["labels"][0, 0]) for truth, path in zip(native, outputs))
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

DESCRIBE_BY_SCRIPT = """
import sys
from pathlib import Path
import imageio.v3 as iio, numpy as np, torch, yaml
folder, image_path = map(Path, sys.argv[1:])
image = np.repeat(iio.imread(image_path)[None, None], 3, axis=1).astype("float32") / 255
outputs = torch.jit.load(folder / "best.torchscript")(torch.from_numpy(image))
np.save(folder / "input.npy", image)
axes = [{"type": "batch", "size": 1}, {"type": "channel", "channel_names": ["r", "g", "b"]}]
described = {
    "type": "model", "format_version": "0.5.10", "name": "by script", "description": "written by a script",
    "license": "MIT", "authors": [{"name": "somebody"}], "cite": [{"text": "x", "url": "https://example.com"}],
    "tags": ["nuclei"], "documentation": "README.md",
    "inputs": [{"id": "image", "axes": axes + [{"type": "space", "id": a, "size": 512} for a in "yx"],
                "test_tensor": {"source": "input.npy"}, "data": {"type": "float32"}}],
    "outputs": [],
    "weights": {"torchscript": {"source": "best.torchscript", "pytorch_version": torch.__version__.split("+")[0]},
                "onnx": {"source": "best.onnx", "opset_version": 20, "parent": "torchscript"}},
}
for number, output in enumerate(outputs):
    np.save(folder / f"output{number}.npy", output.detach().numpy())
    channels = {"type": "channel", "channel_names": [f"c{i}" for i in range(output.shape[1])]}
    rest = [{"type": "space", "id": a, "size": n} for a, n in zip("yx", output.shape[2:])]
    described["outputs"].append({"id": f"output{number}", "axes": [{"type": "batch", "size": 1}, channels, *rest],
        "test_tensor": {"source": f"output{number}.npy"}, "data": {"type": "float32"}})
(folder / "README.md").write_text("# Validation")
(folder / "rdf.yaml").write_text(yaml.safe_dump(described))
"""


def ours(root: Path) -> float:
    """Seconds of one `zoowizard build` of the sample, from the command to the package."""
    folder = Path(tempfile.mkdtemp(dir=root))
    command = zoowizard("build", RUN, "--answers", ANSWERS, "--json", "--workspace", folder / "w", "--output", folder)
    return cost_of(command).wall_s


def sample_values(root: Path) -> Path:
    """What the draft of the sample holds, as the job gets it."""
    folder = root / "values"
    command = zoowizard("build", RUN, "--answers", ANSWERS, "--json", "--workspace", folder, "--output", folder)
    cost_of(command)
    [job] = (folder / "models").glob("*/jobs/*/job.json")
    path = root / "values.json"
    path.write_text(json.dumps(json.loads(job.read_text())["work"]["values"]))
    return path


def today(root: Path) -> float:
    """Seconds of the usual way: two exports, a script, the library's test."""
    folder = Path(tempfile.mkdtemp(dir=root))
    shutil.copy(CHECKPOINT, folder / "best.pt")
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_CONFIG_DIR": str(root)}
    environment["BIOIMAGEIO_CACHE_PATH"] = str(root / "cache")
    commands = [
        [str(scripts / "yolo"), "export", f"model={folder / 'best.pt'}", "format=torchscript", "imgsz=512"],
        [str(scripts / "yolo"), "export", f"model={folder / 'best.pt'}", "format=onnx", "imgsz=512", "simplify=False"],
        [sys.executable, "-c", DESCRIBE_BY_SCRIPT, str(folder), str(IMAGE)],
        [str(scripts / "bioimageio"), "test", str(folder / "rdf.yaml")],
    ]
    return sum(cost_of(command, environment).wall_s for command in commands)


def main(rounds: int) -> int:
    """Print both ratios; gives 1 where a target is missed."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        arguments = [str(CHECKPOINT), str(IMAGE), str(sample_values(root)), str(root)]
        warm = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", BY_HAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert warm.stdin is not None
        assert warm.stdout is not None
        names = iter(range(1000))

        def by_hand() -> float:
            assert warm.stdin is not None
            assert warm.stdout is not None
            started = time.perf_counter()
            warm.stdin.write(f"round-{next(names)}\n")
            warm.stdin.flush()
            for line in warm.stdout:
                if line.startswith("seconds"):
                    return time.perf_counter() - started
            raise RuntimeError("the warm process ended")

        by_hand()  # until it is warm
        met = say("build / library calls, warm, one process", *in_turns(lambda: ours(root), by_hand, rounds), 1.25)
        warm.stdin.close()
        warm.wait()
        return (
            0
            if say(
                "build / export, script, bioimageio test",
                *in_turns(lambda: ours(root), lambda: today(root), rounds),
                0.7,
            )
            and met
            else 1
        )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
