"""What this computer lets tests do with disks."""

import shutil
import subprocess


def may_mount() -> bool:
    """Whether a disk of our own can be mounted."""
    namespace = shutil.which("unshare")
    command = [str(namespace), "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return namespace is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
