"""Imported by the server of clean processes, so that none of them pays for these imports again. See `clean`."""

import bioimageio.core  # noqa: F401
import onnxruntime  # noqa: F401
import torch  # noqa: F401
