"""Uploading against curl: the same parts to the same storage on this computer, memory, and the time to resume.

`python benchmarks/upload.py [--megabytes N] [--rounds N]`: starts a real server with storage on the disk (as the tests
do), uploads a package of N megabytes, and sends the same parts to the same storage with curl, as many at once. Gives
the throughput of both, the most memory that an upload took, and beyond one without weights, how long one that was
killed half-way takes until it sends again, and how long it takes to find that all of an upload is there already.
"""

import argparse
import atexit
import concurrent.futures
import hashlib
import importlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MB = 10**6
CHILD = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from uploads import Told
from zoowizard.upload import transfer, zoo
told = {"parts": 0.0, "first": 0.0, "sent": 0}
send_all, send_one = transfer.Sender._send_all, transfer.Sender._send_one
def seen(self, file, number, client):
    told["first"] = told["first"] or time.monotonic() - started
    told["sent"] += file.parts[number - 1].size
    return send_one(self, file, number, client)
transfer.Sender._send_one = seen
def timed(self, wanted, client, pool, last):
    began = time.monotonic()
    try:
        return send_all(self, wanted, client, pool, last)
    finally:
        told["parts"] += time.monotonic() - began if any(len(file.parts) > 1 for file, _ in wanted) else 0.0
transfer.Sender._send_all = timed
started = time.monotonic()
zoo.send(Path(sys.argv[1]), lambda: os.environ["TOKEN_OF_TEST"], Told())
status = Path("/proc/self/status").read_text()
peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
print(json.dumps({"seconds": time.monotonic() - started, "peak": peak, **told}))
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="a disk with room for three times that")
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "tests"))
    server = _server()
    folder = Path(tempfile.mkdtemp(prefix="zoowizard-upload-", dir=given.folder))
    try:
        nothing = [_upload(server, _package(folder, 0, number), folder / f"nothing-{number}") for number in range(2)]
        ours, theirs, peaks = [], [], []
        for number in range(given.rounds):
            package = _package(folder, given.megabytes, number)
            theirs.append(_curl(server, package, folder, number))
            measured = _upload(server, package, folder / f"round-{number}")
            ours.append(measured["parts"])
            peaks.append(measured["peak"])
            shutil.rmtree(server.folder / "s3" / "hypha-workspaces", ignore_errors=True)
            (server.folder / "s3" / "hypha-workspaces").mkdir()
        speed, curls = (given.megabytes / statistics.median(times) for times in (ours, theirs))
        print(f"zoowizard {speed:6.0f} MB/s   curl {curls:6.0f} MB/s   ratio {speed / curls:.2f}")
        base = min(one["peak"] for one in nothing)
        print(f"memory: {max(peaks) / MB:.0f} MB in all, {(max(peaks) - base) / MB:.0f} MB more than for no weights")
        first, sent = _killed_and_resumed(server, folder, given.megabytes)
        print(f"killed half-way, it sends again after {first:.1f} s, and sends {sent / MB:.0f} of {given.megabytes} MB")
        print(f"an upload that is whole is looked at again in {_again(server, folder):.1f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _server() -> Any:
    """A server and its storage on the disk, with nothing of ours between."""
    hypha_server = importlib.import_module("hypha_server")
    folder = Path(tempfile.mkdtemp(prefix="zoowizard-zoo-"))
    port, storage_port = hypha_server.free_ports(2)
    straight, to_storage = types.SimpleNamespace(port=port), types.SimpleNamespace(port=storage_port)
    server = hypha_server.Zoo(folder, "s3rver", port, storage_port, straight, to_storage)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    server.make_collection()
    return server


def _package(folder: Path, megabytes: int, number: int) -> Path:
    path = folder / f"{megabytes}-{number}.zip"
    block = random.Random(number).randbytes(MB)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr("rdf.yaml", "name: benchmark\ntype: model\n")
        with archive.open(zipfile.ZipInfo("weights.bin"), "w", force_zip64=True) as file:
            for count in range(megabytes):
                file.write(count.to_bytes(8, "big") + block[8:])
    return path


def _upload(server: Any, archive: Path, where: Path) -> dict[str, float]:
    """Seconds of all, seconds in which parts were sent, most memory in bytes: of an upload in a process of its own."""
    with _child(server, _queued(server, archive, where)) as child:
        out, _ = child.communicate()
    if child.returncode:
        raise SystemExit("the upload failed")
    told: dict[str, float] = json.loads(out)
    return told


def _queued(server: Any, archive: Path, where: Path) -> Path:
    from zoowizard.upload import zoo
    from zoowizard.upload.package import Package
    from zoowizard.upload.servers import Server

    digest = hashlib.file_digest(archive.open("rb"), "sha256").hexdigest()
    record = where / "uploads" / "x"
    zoo.queue(record, Server(server.base), Package(archive, "benchmark", digest))
    return record


def _child(server: Any, record: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", CHILD, str(record), str(HERE.parent / "tests")]
    return subprocess.Popen(command, env={**os.environ, "TOKEN_OF_TEST": server.token()}, stdout=subprocess.PIPE)


def _killed_and_resumed(server: Any, folder: Path, megabytes: int) -> tuple[float, float]:
    """Seconds until an upload that was killed when half of it had arrived sends again, and the bytes that it sends."""
    from zoowizard.upload import state

    where, archive = folder / "killed", _package(folder, megabytes, 98)
    record = _queued(server, archive, where)
    with _child(server, record) as child:
        while child.poll() is None:
            upload = state.read(record)
            if upload is not None and upload.files and upload.sent > upload.total / 2:
                child.kill()
            time.sleep(0.02)
    told = _upload(server, archive, where)
    return told["first"], told["sent"]


def _curl(server: Any, archive: Path, folder: Path, number: int) -> float:
    """Seconds in which curl sends the same parts, as many at once, to the same storage."""
    from zoowizard.upload.contents import Limits, members
    from zoowizard.upload.hypha import Hypha
    from zoowizard.upload.servers import Server

    limits, piece = Limits(), members(archive, folder)["weights.bin"]
    spans = [(at, min(limits.part_bytes, piece.size - at)) for at in range(0, piece.size, limits.part_bytes)]
    with Hypha(Server(server.base), server.token) as hypha:
        manifest = {"name": "curl", "status": "draft"}
        draft = hypha.create(f"curl-{os.getpid()}-{number}", manifest, {"ada@example.org": "*"})
        begun = hypha.start_multipart(draft.id, "weights.bin", len(spans), 0.0, 3600)
    parts = []
    for count, (at, size) in enumerate(spans, start=1):
        path = folder / f"part-{count}"
        path.write_bytes(b"".join(piece.chunks(at, size)))
        parts.append((path, begun.urls[count]))

    def put(part: tuple[Path, str]) -> None:
        path, url = part
        command = ["curl", "-sf", "-o", os.devnull, "-H", "Content-Type:", "-H", "Expect:", "-T", str(path), url]
        subprocess.run(command, check=True)

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(limits.at_once) as pool:
        list(pool.map(put, parts))
    took = time.monotonic() - started
    for path, _ in parts:
        path.unlink()
    return took


def _again(server: Any, folder: Path) -> float:
    where = folder / "again"
    package = _package(folder, 10, 99)
    _upload(server, package, where)
    return _upload(server, package, where)["seconds"]


if __name__ == "__main__":
    sys.exit(main())
