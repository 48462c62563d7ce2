"""Imported by the server of clean processes, so that none of them pays for these imports again. See `clean`."""

import gc

import bioimageio.core  # noqa: F401
import onnxruntime  # noqa: F401

# what asking torch to be deterministic imports, which the library's tests do

gc.collect()
gc.freeze()  # the library collects garbage often: it need not look through all these modules each time
