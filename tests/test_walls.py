"""The walls, seen from outside: what a command has loaded when it is done."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("textual", "torch", "torchvision", "bioimageio", "ultralytics", "cellpose", "onnx", "onnxruntime")
START = """
import contextlib, io, json, sys
from zoowizard.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["identify", "SAMPLE"], ["identify", "SAMPLE", "--json"], ["answers", "SAMPLE"], ["board"], ["jobs"]],
)
def test_light_commands_load_nothing_heavy(arguments: list[str], sample_run: Path, tmp_path: Path) -> None:
    given = [str(sample_run) if argument == "SAMPLE" else argument for argument in arguments]
    if arguments != ["--help"]:
        given += ["--workspace", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", START, *given], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "zoowizard" in loaded
    assert not set(HEAVY) & set(loaded)
