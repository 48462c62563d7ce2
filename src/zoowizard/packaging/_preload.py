"""Imported by the server of clean processes, so that none of them pays for these imports again. See `clean`."""

import gc
from importlib import import_module

# torch._inductor is what torch imports when the library's tests ask it to be deterministic
for name in ("bioimageio.core", "bioimageio.core.backends.torchscript_backend", "onnxruntime", "torch._inductor"):
    import_module(name)
gc.collect()
gc.freeze()  # the library collects garbage often: it need not look through all these modules each time
