"""What the description of a package answers of the questions, each value as it is found, and what its card says."""

import datetime
import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from zoowizard.drafts.draft import Value
from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import Contents, why_not_inside
from zoowizard.families.package_references import ATTACHMENT, DOCUMENTATION, references, weights_in

LARGEST_CARD: Final = 1_000_000
"""Bytes."""
LONGEST: Final = 8_000
"""Letters of a section of a card that are taken over."""
TOOLS: Final[Mapping[str, str]] = {
    "zoowizard": "zoowizard",
    "biapy": "BiaPy",
    "careamics": "CAREamics",
    "stardist": "StarDist",
    "cellpose": "Cellpose",
    "micro_sam": "micro-sam",
    "zerocostdl4mic": "ZeroCostDL4Mic",
    "deepimagej": "deepImageJ",
    "cellmap": "CellMap",
}
"""Tools that write packages, by what stands in `config` of theirs."""
_ATTACHED: Final = {"careamics.yaml": "CAREamics", "careamics.yml": "CAREamics", "biapy.yaml": "BiaPy"}
_DOI_ADDRESS: Final = re.compile(r"^https?://(?:dx\.)?doi\.org/", re.IGNORECASE)
_HEADING: Final = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*")
_SECTIONS: Final = (
    ("intended_use", re.compile(r"intended use|direct use|use cases?|what (it|the model) (is|does)", re.IGNORECASE)),
    ("limitations", re.compile(r"limitation", re.IGNORECASE)),
    ("validation", re.compile(r"validation", re.IGNORECASE)),
)
"""The answers that a card may hold, by the headings under which they stand."""
_OWN_ADVICE: Final = "Check the results on "


def values_of(contents: Contents) -> dict[str, Value]:
    """What the description and the card tell, by the names of the questions."""
    told = contents.told
    described = {name: Value(value, contents.description) for name, value in _described(told)}
    found = {**_of_card(contents), **{name: one for name, one in described.items() if not _is_empty(one.value)}}
    config = _mapping(_mapping(told.get("config")).get("bioimageio"))
    limitations = _mapping(config.get("bias_risks_limitations")).get("limitations")
    if isinstance(limitations, str) and limitations.strip():
        found["limitations"] = Value(limitations.strip(), contents.description)
    return found


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def made_by(told: Mapping[str, Any]) -> str:
    """The tool that wrote the package; empty where nothing tells."""
    config = {str(key).casefold(): one for key, one in _mapping(told.get("config")).items()}
    named = next((tool for key, tool in TOOLS.items() if key in config), "")
    if named == TOOLS["deepimagej"]:  # others write packages for it, and say so in their tags only
        named = _by_its_words(told)
    attached = [one.name.rpartition("/")[2].casefold() for one in references(told) if one.role == ATTACHMENT]
    return named or next((_ATTACHED[one] for one in attached if one in _ATTACHED), "") or _by_its_words(told)


def _by_its_words(told: Mapping[str, Any]) -> str:
    tags = {str(one).casefold() for one in _list(told.get("tags"))}
    text = str(weights_in(told).get("pytorch_state_dict", {}).get("architecture", "")).casefold()
    return next((tool for key, tool in TOOLS.items() if key in tags or f"{key}." in text), "")


def _described(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in ("name", "description", "license", "git_repo"):
        text = plain(told.get(name))
        yield name, text.strip() if isinstance(text, str) else text
    version = told.get("version")
    yield "version", str(version) if isinstance(version, int | float | str) else None
    yield "authors", _people(told.get("authors"))
    yield "maintainers", _people(told.get("maintainers"))
    yield "citations", [_cited(one) if isinstance(one, Mapping) else plain(one) for one in _list(told.get("cite"))]
    yield "tags", [plain(one) for one in _list(told.get("tags"))]
    yield from _training_data(told.get("training_data"))
    config = _mapping(_mapping(told.get("config")).get("bioimageio"))
    yield "funding", plain(config.get("funded_by"))
    yield "modality", plain(config.get("modality"))
    parameters = config.get("model_parameter_count")
    yield "parameters", parameters if isinstance(parameters, int) and not isinstance(parameters, bool) else None
    yield "classes", [plain(one) for one in _list(config.get("target_structure"))]
    yield "pixel_size", _pixel_size(told)
    yield "architecture", _architecture(told)
    yield "layout", str(told.get("format_version"))
    entries = weights_in(told)
    yield "weight_formats", sorted(entries, key=lambda name: entries[name].get("parent") is not None)
    yield "made_by", made_by(told)
    ids = (told.get("id"), config.get("nickname"))
    yield "model_id", next((one for one in ids if isinstance(one, str)), None)
    yield "parent_of_original", _parent(told.get("parent"))
    yield "name_of_original", plain(told.get("name"))
    yield "version_of_original", str(version) if isinstance(version, int | float | str) else None
    yield "covers", [one.name for one in references(told) if one.role == "cover"]


def _people(listed: Any) -> list[Any]:
    return [_filled(one) if isinstance(one, Mapping) else {"name": plain(one)} for one in _list(listed)]


def _training_data(data: Any) -> Iterator[tuple[str, Any]]:
    """An id in the zoo, or the whole description of a data set."""
    if not isinstance(data, Mapping):
        return
    identity = data.get("id")
    yield "training_data_id", identity if isinstance(identity, str) else None
    yield "training_data_name", plain(data.get("name"))
    yield "training_data_license", plain(data.get("license"))
    cited = [one for one in _list(data.get("cite")) if isinstance(one, Mapping)]
    where = [data.get("source"), *(one.get("doi") or one.get("url") for one in cited)]
    yield "training_data_source", next((one for one in where if isinstance(one, str) and one), None)


def _pixel_size(told: Mapping[str, Any]) -> str | None:
    """Of the first input, where its axes y and x, and z of a volume, have scale and unit, as 0.5 has them."""
    inputs = _list(told.get("inputs"))
    axes = _list(_mapping(inputs[0]).get("axes")) if inputs else []
    by_id = {str(one.get("id")): one for one in axes if isinstance(one, Mapping)}
    z, y, x = (_mapping(by_id.get(axis)) for axis in ("z", "y", "x"))
    described = [z, y, x] if _is_sized(z) and z.get("unit") == x.get("unit") else [y, x]
    scales, unit = [one.get("scale") for one in described], x.get("unit")
    if not isinstance(unit, str) or any(not _is_sized(one) or one.get("unit") != unit for one in described):
        return None
    sizes = [f"{scale:g}" for scale in scales]
    same = len(sizes) == 2 and sizes[0] == sizes[1]  # of a volume, one size would not say whether z is meant
    return f"{sizes[0] if same else ' x '.join(sizes)} {unit}"


def _is_sized(axis: Any) -> bool:
    scale, unit = (_mapping(axis).get(key) for key in ("scale", "unit"))
    return isinstance(unit, str) and isinstance(scale, int | float) and not isinstance(scale, bool)


def _architecture(told: Mapping[str, Any]) -> str | None:
    entry = weights_in(told).get("pytorch_state_dict", {})
    network = entry.get("architecture", told.get("source"))
    name = network.get("callable") if isinstance(network, Mapping) else network
    return re.split(r"[:.]", name)[-1] if isinstance(name, str) and name else None


def _parent(parent: Any) -> str | None:
    """0.4 also has an address or a hash."""
    if isinstance(parent, Mapping):
        parent = parent.get("id") or parent.get("uri")
    return parent if isinstance(parent, str) else None


def _of_card(contents: Contents) -> dict[str, Value]:
    """What stands under the headings of its documentation."""
    one = next((one for one in references(contents.told) if one.role == DOCUMENTATION), None)
    if one is None or one.is_remote or why_not_inside(one.name) or contents.size(one.name) is None:
        return {}
    try:
        text = contents.read(one.name, LARGEST_CARD).decode("utf-8", "replace")
    except ZoowizardError:
        return {}
    values = {}
    for heading, body in sections(text):
        name = next((name for name, pattern in _SECTIONS if pattern.search(heading)), None)
        if name is not None and name not in values and len(body) >= 10:
            values[name] = body
    values |= _data_of_own_card(text)
    return {name: Value(value, one.name) for name, value in values.items()}


def sections(text: str) -> list[tuple[str, str]]:
    """The headings of a Markdown text, each with the plain text below it and before the next heading.

    Pictures, code, tables, HTML and advice that zoowizard writes into every card are left out.
    """
    found: list[tuple[str, list[str]]] = []
    fenced = False
    for line in text.replace("\r\n", "\n").split("\n"):
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
        elif fenced:
            continue
        elif heading := _HEADING.fullmatch(line):
            found.append((heading[2], []))
        elif found and not re.match(r"\s*(\||!\[)", line) and not line.startswith(_OWN_ADVICE):
            found[-1][1].append(_plain_line(line))
    return [(heading, "\n".join(lines).strip()[:LONGEST]) for heading, lines in found]


def _plain_line(line: str) -> str:
    without = re.sub(r"<[^<>]{0,500}>", "", line) if "<http" not in line else line.replace("<", "").replace(">", "")
    return html.unescape(re.sub(r"\\([\\`*\[\]|~$_#+=.)-])", r"\1", without)).rstrip()


def _data_of_own_card(text: str) -> dict[str, str]:
    """The training data in a card that zoowizard wrote."""
    body = next((body for heading, body in sections(text) if heading == "Training Data"), "")
    names = {"Name": "training_data_name", "Source": "training_data_source", "Licence": "training_data_license"}
    found = {}
    for line in body.splitlines():
        bullet = re.fullmatch(r"- \*\*(\w+):\*\* (.+)", line.strip())
        if bullet and bullet[1] in names:
            found[names[bullet[1]]] = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", bullet[2]).strip()
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it; dates as texts."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _filled(one: Mapping[Any, Any]) -> dict[str, Any]:
    """Without what is empty: the library writes `null` where there is nothing."""
    return {str(key): plain(value) for key, value in one.items() if value not in (None, "")}


def _cited(one: Mapping[Any, Any]) -> dict[str, Any]:
    """StarDist and ZeroCostDL4Mic write a DOI as an address, which the format does not take any more."""
    cited = _filled(one)
    if isinstance(doi := cited.get("doi"), str):
        cited["doi"] = _DOI_ADDRESS.sub("", doi)
    return cited


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []
