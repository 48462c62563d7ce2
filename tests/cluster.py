"""A real SLURM cluster of one node on this computer, with daemons of its own that can be stopped and started again.

It needs root, and Debian's packages, which it installs where they are missing.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent / "slurm"
CORES = 4
"""The node claims to have so many, whatever this computer has: they are for counting only."""


def has_memory_groups() -> bool:
    """Whether SLURM can limit memory here: control groups of version 1, that may be written."""
    return os.access("/sys/fs/cgroup/memory/cgroup.procs", os.W_OK)


@dataclass(frozen=True)
class Cluster:
    """`folder` holds its configuration, state and logs."""

    folder: Path
    port: int

    @property
    def configuration(self) -> str:
        """What SLURM_CONF must be."""
        return str(self.folder / "etc" / "slurm.conf")

    def up(self, forgetful: bool = False) -> None:
        """Start those daemons that are not there; a `forgetful` controller knows no job from before.

        Its numbers begin anew. So that the node is not given one that it remembers, which it would refuse to start,
        those after the next start of the daemons are far from all before.
        """
        record = self.folder / "first-job"
        first = int(record.read_text()) if record.exists() else 1
        if forgetful:
            record.write_text(str(first + 10_000))
            first = 1
        chosen = {
            "SLURM_TEST_DIR": str(self.folder),
            "SLURM_TEST_PORT": str(self.port),
            "SLURM_TEST_CPUS": str(CORES),
            "SLURM_TEST_FIRSTJOB": str(first),
            "SLURM_TEST_MESSAGETIMEOUT": "2",
            "SLURM_TEST_SLURMDTIMEOUT": "300",  # a node that is only slow must not be taken for a broken one
            "SLURM_TEST_CGROUP": str(int(has_memory_groups())),
            **({"SLURM_TEST_CLEAN": "1"} if forgetful else {}),
        }
        # not through pipes: the daemons would hold their ends
        with (self.folder / "up.log").open("w") as log:
            code = subprocess.call(["bash", str(HERE / "up.sh")], stdout=log, stderr=log, env={**os.environ, **chosen})
        assert code == 0, (self.folder / "up.log").read_text()

    def down(self) -> None:
        """Stop all daemons, and the jobs."""
        environment = {**os.environ, "SLURM_TEST_DIR": str(self.folder)}
        subprocess.run(["bash", str(HERE / "down.sh")], env=environment, check=True, capture_output=True)

    def kill(self, daemon: str, number: int = signal.SIGKILL) -> None:
        """Kill `slurmctld` or `slurmd`, and wait until it is gone. A controller that is killed forgets what is new."""
        record = self.folder / f"{daemon}.pid"
        process = int(record.read_text())
        os.kill(process, number)
        end = time.monotonic() + 60
        while _lives(process):
            assert time.monotonic() < end, f"{daemon} does not end"
            time.sleep(0.01)
        record.unlink(missing_ok=True)  # what nobody waits for stays as a zombie, which `kill -0` takes for alive

    def says(self, *command: str) -> str:
        """What a command of SLURM prints."""
        environment = {**os.environ, "SLURM_CONF": self.configuration}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stdout.strip()

    def node(self, state: str) -> None:
        """Let the controller take the node for `down`, or `resume` it."""
        name = socket.gethostname().partition(".")[0]
        self.says("scontrol", "update", f"nodename={name}", f"state={state}", "reason=test")


@contextlib.contextmanager
def a_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster with its state in `folder`, which ends with the context."""
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder, _free_ports())
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _free_ports() -> int:
    """The first of four neighbouring ports that nobody listens on."""
    for port in range(16817, 65000, 10):
        with contextlib.ExitStack() as stack:
            try:
                for offset in range(4):
                    listener = stack.enter_context(socket.socket())
                    listener.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
    raise AssertionError("all ports are taken")
