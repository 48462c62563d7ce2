"""The tests of the zoo's library, which `clean` asks here, and a script for the Python that has the runner's versions.

`python -I zoo_child.py DESCRIPTION WEIGHT_FORMAT` tests one weight format of an unpacked package. It needs
bioimageio.core 0.10.4 and what that needs, nothing of zoowizard. What it has to say stands on standard output as JSON,
one object a line, each with some of:

- `environment`: the versions of what is used, by name
- `errors`, `warnings`, `checks`, `seconds`: what the library's tests said, plain lines; `status`: passed or failed
- `differences`: by output, `max_abs` and `mismatched_per_million` of the prediction against the test output;
  `cannot_run`: why there are none
"""

import importlib.metadata
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WARNING = 30
"""From this severity on the library means a warning."""
SOFTWARE = ("bioimageio.core", "bioimageio.spec", "numpy")
OF_FORMAT = {"onnx": ("onnxruntime",), "pytorch_state_dict": ("torch", "torchvision"), "torchscript": ("torch",)}
OF_STEP = {"cellpose_flow_dynamics": "cellpose", "stardist_postprocessing": "stardist"}
EMPTY = "Needs to be filled"
"""What bioimageio.spec says of an entry that may be left out, and should not be."""


def test(package: Path, weight_format: str, devices: Sequence[str] | None = None) -> dict[str, Any]:
    """What the library's own tests say of one weight format of a package (zip or description): reproduction, sizes,
    batches.

    Gives `status` (passed or failed), `errors` and `warnings` (plain lines), `checks` (the names of what was done),
    `seconds`. Without `devices` it runs where the library chooses to.
    """
    from bioimageio.core import test_description

    started = time.monotonic()
    summary = test_description(package, weight_format=weight_format, expected_type="model", devices=devices)
    errors = [_line(detail.name, one.loc, one.msg) for detail in summary.details for one in detail.errors]
    warnings = [
        _line(detail.name, one.loc, one.msg)
        for detail in summary.details
        for one in detail.warnings
        if one.severity >= WARNING
    ]
    return {
        "status": "passed" if summary.status == "passed" else "failed",
        "errors": errors,
        "warnings": list(dict.fromkeys(warnings)),
        "checks": [detail.name for detail in summary.details if detail.status == "passed"],
        "seconds": round(time.monotonic() - started, 3),
    }


def measure(description: Path, weight_format: str) -> dict[str, dict[str, float]]:
    """How far the prediction of the test input is from the test output, with the tolerances of the package."""
    import numpy as np
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core._resource_tests import _get_tolerance
    from bioimageio.core.digest_spec import get_test_input_sample, get_test_output_sample
    from bioimageio.spec import load_model_description

    model = load_model_description(description, perform_io_checks=False)
    expected = get_test_output_sample(model)
    with create_prediction_pipeline(model, weight_format=weight_format, devices=["cpu"]) as pipeline:
        # as the library's own test does it: with a halo it would pad the image, and predict another one
        predicted = pipeline.predict_sample_without_blocking(
            get_test_input_sample(model), skip_input_padding=True, skip_output_cropping=True
        )
    found = {}
    for name, tensor in expected.members.items():
        wanted = tensor.data.to_numpy().astype(np.float64)
        given = predicted.members[name].data.to_numpy().astype(np.float64)
        if wanted.shape != given.shape:
            raise ValueError(f"the output {name} has the shape {given.shape}, and {wanted.shape} was expected")
        relative, absolute, _ = _get_tolerance(model, wf=weight_format, m=name)
        apart = np.abs(given - wanted)
        beyond = ~(apart <= absolute + relative * np.abs(wanted))
        found[str(name)] = {
            "max_abs": float(apart.max(initial=0)),
            "mismatched_per_million": 1e6 * float(beyond.mean()) if beyond.size else 0.0,
        }
    return found


def versions(weight_format: str, described: Mapping[str, Any]) -> dict[str, str]:
    """Of Python, of the library, and of what runs this weight format and its postprocessing."""
    steps = [step.get("id") for output in described.get("outputs") or () for step in output.get("postprocessing") or ()]
    names = (*SOFTWARE, *OF_FORMAT.get(weight_format, ()), *(OF_STEP[one] for one in steps if one in OF_STEP))
    known = {"python": sys.version.split()[0]}
    for name in names:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return known


def trust_github_users(described: Mapping[str, Any]) -> None:
    """Keep the library from asking GitHub for users: offline it would call the model invalid."""
    from bioimageio.spec._internal.constants import KNOWN_GITHUB_USERS

    for role in ("authors", "maintainers"):
        people = described.get(role)
        for person in people if isinstance(people, list) else ():
            if isinstance(person, Mapping) and isinstance(person.get("github_user"), str):
                KNOWN_GITHUB_USERS.add(person["github_user"].lower())


def _read(description: Path) -> Mapping[str, Any]:
    import ruyaml

    described = ruyaml.YAML(typ="safe", pure=True).load(description.read_text(encoding="utf-8"))
    return described if isinstance(described, Mapping) else {}


def _line(name: str, place: Sequence[Any], message: str) -> str:
    where = ".".join(str(part) for part in place)
    if where and message.startswith(EMPTY):
        return f"{where}: nothing is written there, and the zoo asks for it"
    return ": ".join(part for part in (name, where, _first_line(message)) if part)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]


def _in_short(problem: BaseException) -> str:
    """Type and first line; of several that were tried, the last one."""
    if isinstance(problem, BaseExceptionGroup):
        return _in_short(problem.exceptions[-1])
    return f"{type(problem).__name__}: {_first_line(str(problem)) or 'no message'}"


def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(description: Path, weight_format: str) -> None:
    """Test, then measure, and say what comes of it."""
    _end_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the library and the frameworks print to standard output

    def say(**told: Any) -> None:
        print(json.dumps(told), file=answers, flush=True)

    described = _read(description)
    say(environment=versions(weight_format, described))
    trust_github_users(described)
    say(**test(description, weight_format, ["cpu"]))
    try:
        say(differences=measure(description, weight_format))
    except Exception as problem:
        say(cannot_run=_in_short(problem))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
