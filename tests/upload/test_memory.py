"""How much memory an upload takes: as little for big files as for small ones."""

import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypha_server import Zoo

from zoowizard.drafts.store import Workspace
from zoowizard.upload import state, zoo
from zoowizard.upload.contents import sha256_of
from zoowizard.upload.package import Package
from zoowizard.upload.servers import server_of

MB = 10**6
BOUND = 64 * MB
CHILD = """
import json, os, sys
from pathlib import Path
from uploads import Told
from zoowizard.upload import zoo
upload = zoo.send(Path(sys.argv[1]), lambda: os.environ["TOKEN_OF_TEST"], Told())
status = Path("/proc/self/status").read_text()
print(json.dumps({"peak": 1024 * int(status.partition("VmHWM:")[2].split()[0]), "phase": upload.phase}))
"""


@pytest.mark.parametrize("megabytes", [150, pytest.param(3221, marks=pytest.mark.slow)])
def test_memory_is_bounded(strict: Zoo, tmp_path: Path, megabytes: int) -> None:
    path, block = tmp_path / "big.zip", random.Random(0).randbytes(MB)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr("bioimageio.yaml", "name: big\ntype: model\n")
        with archive.open(zipfile.ZipInfo("weights.bin"), "w", force_zip64=True) as file:
            for number in range(megabytes):
                file.write(number.to_bytes(8, "big") + block[8:])
    package = Package(path, "big", sha256_of(path))
    folder = state.folder_of(Workspace(tmp_path / "workspace"), server_of(), "big", package.sha256)
    zoo.queue(folder, server_of(), package)
    environment = {**os.environ, "TOKEN_OF_TEST": strict.token(), "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", CHILD, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    said = json.loads(done.stdout)
    assert said["phase"] == "verified"
    assert said["peak"] < BOUND
