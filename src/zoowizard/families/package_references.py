"""The files that a description of a model names, in the layouts 0.3 to 0.5 of the format.

Source of the layouts: `bioimageio.spec.model.v0_4.ModelDescr` (which 0.3 is brought to) and `v0_5.ModelDescr`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Place = tuple[str | int, ...]
REMOTE: Final = re.compile(r"https?://", re.IGNORECASE)
TEST, SAMPLE, DOCUMENTATION, COVER, ATTACHMENT, ICON, CODE, ENVIRONMENT = (
    "test tensor", "sample", "documentation", "cover", "attachment", "icon", "code of its processing", "environment",
)  # fmt: skip
NEEDED: Final = frozenset({TEST, CODE})
"""Without these nothing can be tested; of weights, one format is enough."""
_OF_TENSORS: Final = {"test_inputs": TEST, "test_outputs": TEST, "sample_inputs": SAMPLE, "sample_outputs": SAMPLE}


@dataclass(frozen=True)
class Reference:
    """One file that is named: where in the description, and how (`source`, a plain path or a web address).

    `before` and `after` stand around it in the same text: `conda:`, `:UNet`. `role` is one of those above, or the
    weight format that needs it; `what` is `weights`, `architecture` or `further weights` then.
    """

    place: Place
    source: str
    role: str
    sha256: str | None = None
    what: str = ""
    before: str = ""
    after: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether it lies on a server."""
        return REMOTE.match(self.source) is not None

    @property
    def name(self) -> str:
        """Its path in the package."""
        return self.source.removeprefix("./")


def references(told: Mapping[str, Any]) -> list[Reference]:
    """Every file that the description names, in the order in which it does."""
    return list(_references(told))


def weights_in(told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The entries of the weights by format, as 0.4 and 0.5 call them; those that are there."""
    weights = told.get("weights")
    entries = weights.items() if isinstance(weights, Mapping) else ()
    named = {"pytorch_script": "torchscript"}
    return {named.get(str(name), str(name)): one for name, one in entries if isinstance(one, Mapping)}


def _references(told: Mapping[str, Any]) -> Iterator[Reference]:
    for key, role in _OF_TENSORS.items():
        for number, one in enumerate(_list(told.get(key))):
            yield from _file((key, number), one, role)
    for side in ("inputs", "outputs"):
        for number, tensor in enumerate(_list(told.get(side))):
            if isinstance(tensor, Mapping):
                for key, role in (("test_tensor", TEST), ("sample_tensor", SAMPLE)):
                    yield from _file((side, number, key), tensor.get(key), role)
                for key in ("preprocessing", "postprocessing"):
                    for step, one in enumerate(_list(tensor.get(key))):
                        yield from _file((side, number, key, step), one, CODE, plain=False)
    yield from _weights(told)
    yield from _file(("documentation",), told.get("documentation"), DOCUMENTATION)
    for number, one in enumerate(_list(told.get("covers"))):
        yield from _file(("covers", number), one, COVER)
    attached = told.get("attachments")
    if isinstance(attached, Mapping):
        for number, one in enumerate(_list(attached.get("files"))):
            yield from _file(("attachments", "files", number), one, ATTACHMENT)
    for number, one in enumerate(_list(attached)):
        yield from _file(("attachments", number), one, ATTACHMENT)
    icon = told.get("icon")
    if not isinstance(icon, str) or len(icon) > 2:  # a shorter one is a letter or an emoji
        yield from _file(("icon",), icon, ICON)


def _weights(told: Mapping[str, Any]) -> Iterator[Reference]:
    if isinstance(told.get("source"), str) and "weights" in told:  # 0.3: the network stands at the top
        yield from _architecture(("source",), told["source"], told.get("sha256"), "pytorch_state_dict")
        yield from _environment(("dependencies",), told.get("dependencies"))
    weights = told.get("weights")
    for format_name, entry in weights_in(told).items():
        key = "pytorch_script" if isinstance(weights, Mapping) and format_name not in weights else format_name
        place: Place = ("weights", key)
        yield from _file(place, entry, format_name, "weights", plain=False)
        yield from _file((*place, "external_data"), entry.get("external_data"), format_name, "further weights")
        beside = entry.get("attachments")
        for number, one in enumerate(_list(beside.get("files")) if isinstance(beside, Mapping) else ()):
            yield from _file((*place, "attachments", "files", number), one, format_name, "further weights")
        network = entry.get("architecture")
        if isinstance(network, str):
            yield from _architecture((*place, "architecture"), network, entry.get("architecture_sha256"), format_name)
        else:
            yield from _file((*place, "architecture"), network, format_name, "architecture", plain=False)
        yield from _environment((*place, "dependencies"), entry.get("dependencies"))


def _environment(place: Place, needs: Any) -> Iterator[Reference]:
    """`conda:environment.yaml` before 0.5."""
    if not isinstance(needs, str):
        yield from _file(place, needs, ENVIRONMENT, plain=False)
    elif ":" in needs and not REMOTE.match(needs):
        manager, _, source = needs.partition(":")
        yield Reference(place, source, ENVIRONMENT, before=f"{manager}:")


def _architecture(place: Place, text: str, sha256: Any, format_name: str) -> Iterator[Reference]:
    """`net.py:UNet`, also on a server; what has no colon after its scheme is a name in a library."""
    head, colon, name = text.rpartition(":")
    if colon and not name.startswith("//"):
        yield Reference(place, head, format_name, _digest(sha256), "architecture", after=f":{name}")


def _file(place: Place, one: Any, role: str, what: str = "", plain: bool = True) -> Iterator[Reference]:
    """`plain`: whether a text on its own is a file's name, too."""
    if isinstance(one, str) and plain:
        yield Reference(place, one, role, None, what)
    elif isinstance(one, Mapping) and isinstance(one.get("source"), str):
        yield Reference((*place, "source"), one["source"], role, _digest(one.get("sha256")), what)


def _digest(value: Any) -> str | None:
    """As the description has it; whatever else stands there is kept, so that it is told that it does not fit."""
    return value if isinstance(value, str) and value else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
