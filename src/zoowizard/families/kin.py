"""Kinds of checkpoints that are known by their tensors and that no family packages yet."""

from typing import Any


def kin(root: Any) -> str | None:
    """What kind of Segment Anything a checkpoint of no known family is, as the end of a sentence; None for others."""
    if not isinstance(root, dict):
        return None
    inner = root.get("model")
    names = {name for name in (inner if isinstance(inner, dict) else root) if isinstance(name, str)}
    if "decoder_state" in root or "model_state" in root:
        return "micro-sam's, which is not packaged yet: its own export makes a package"
    if any(name.startswith("image_encoder.trunk.") for name in names):
        return "those of Segment Anything 2, which finds objects by clicks or boxes and cannot be packaged yet"
    if "image_encoder.patch_embed.seq.0.c.weight" in names:
        return "those of MobileSAM, which finds objects by clicks or boxes and cannot be packaged yet"
    if "image_encoder.pos_embed" in names:
        return "those of Segment Anything, which finds objects by clicks or boxes and cannot be packaged yet"
    return None
