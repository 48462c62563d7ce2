"""The model card: the README.md of a package, after the model-card headings of the zoo.

The headings are those of bioimageio.spec's card (`bioimageio/spec/_hf_card.py`, version 0.5.12), which follow
https://huggingface.co/docs/hub/en/model-card-annotated; the zoo's check of the documentation asks for a heading that
holds the word Validation.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zoowizard.drafts.fields import Field
from zoowizard.families.package_fields import NOT_IN_ZOO
from zoowizard.packaging.markdown import bullets, link, number, paragraphs, table, text
from zoowizard.packaging.measured import Validation as Validation
from zoowizard.packaging.measured import agreement_section, how_to_validate, recommendation, reproducibility
from zoowizard.packaging.report import NOT_TRIED
from zoowizard.packaging.tools import ToolReport


@dataclass(frozen=True)
class TensorNote:
    """One input or output tensor: its id, its axes with what their sizes may be, its data type, what it holds."""

    id: str
    axes: Mapping[str, str]
    data_type: str
    meaning: str = ""


ZOO: Final = "https://bioimage.io/#/artifacts/"
"""With the id of a model behind it, its page."""
OF_ORIGINAL: Final = (
    "This was told of the original, with its own weights. It was not measured again with the fine-tuned ones."
)
TOLD_ELSEWHERE: Final = ("parent", "outputs: test tensors")
"""Where the answers go that the card tells in sentences of their own."""
Values = Mapping[str, Any]
Section = tuple[str, Sequence[str]]
"""A heading and what stands under it; parts that are empty, and sections without parts, are left out."""


def model_card(
    values: Values,
    validation: Validation,
    inputs: Sequence[TensorNote] = (),
    outputs: Sequence[TensorNote] = (),
    settings: Sequence[Field] = (),
) -> str:
    """Give the model card as Markdown from a draft's bare values by name, what was measured, and the tensors.

    `settings` are the family's own questions. Only the names that this module asks for and theirs are read, so that
    nothing else in a draft can reach a package; a name without a value leaves its line out. All texts are escaped: they
    can neither add headings, links, pictures or HTML, nor break a table.
    """
    title = [f"# {text(values.get('name')) or 'Model'}", paragraphs(values.get("description"))]
    sections: list[Section] = [
        ("# Model Details", []),
        ("## Model Description", [_model_description(values)]),
        ("## Model Sources", [bullets([("Repository", link(values.get("git_repo")))])]),
        ("# Uses", []),
        ("## Direct Use", [paragraphs(values.get("intended_use"))]),
        ("## Images that it expects", [bullets(_expected_images(values, settings))]),
        ("# Bias, Risks, and Limitations", [paragraphs(values.get("limitations")), recommendation(validation)]),
        ("# How to Get Started with the Model", [_snippet(inputs, outputs)]),
        ("## Where it will run", _where_it_runs(validation.tools)),
        ("# Training Details", []),
        ("## Training Data", [bullets(_training_data(values))]),
        ("## Training Procedure", [table(("Setting", "Value"), _training_procedure(values))]),
        ("# Validation", [paragraphs(values.get("validation")), _told_of_original(values)]),
        ("## Metrics of the training run", [_metrics(values), _curves(validation.curves)]),
        ("## Agreement with the native framework", [agreement_section(validation)]),
        ("## Reproducibility", [reproducibility(validation.formats)]),
        ("## On images of your own", [how_to_validate(validation)]),
        ("## Notes", ["\n".join(f"- {text(note)}" for note in validation.notes)]),
        ("# Technical Specifications", []),
        ("## Model Architecture and Objective", [bullets(_architecture(values, settings))]),
        ("## Inputs", [_tensors(inputs)]),
        ("## Outputs", [_tensors(outputs)]),
        ("# Licence", [_licence(values.get("license"))]),
        ("# Citation", ["\n".join(f"- {one}" for one in _citations(values.get("citations")))]),
    ]
    return "\n\n".join(part for part in (*title, *_filled(sections)) if part) + "\n"


def _filled(sections: Sequence[Section]) -> list[str]:
    """The sections as blocks, without empty ones; a main heading stays where a part of it does."""
    kept: list[str] = []
    for heading, parts in reversed(sections):
        content = [part for part in parts if part]
        has_parts = heading.startswith("# ") and kept[:1] != [] and kept[0].startswith("## ")
        if content or has_parts:
            kept[:0] = [heading, *content]
    return kept


def _model_description(values: Values) -> str:
    people = "; ".join(_person(person) for person in _mappings(values.get("authors")))
    trained_by = values.get("trained_by")
    return bullets(
        [
            ("Model version", text(values.get("version"))),
            ("Developed by", people),
            ("Trained by", text(trained_by) if isinstance(trained_by, str) else ""),
            ("Maintained by", "; ".join(_person(person) for person in _mappings(values.get("maintainers")))),
            ("Model type", text(values.get("architecture"))),
            ("Modality", text(values.get("modality"))),
            ("Classes", _classes(values.get("classes"))),
            ("Licence", _licence(values.get("license"))),
            ("Fine-tuned from", _original(values) or text(_base_model(values))),
        ]
    )


def _expected_images(values: Values, settings: Sequence[Field]) -> list[tuple[str, str]]:
    size = number(values.get("image_size"))
    return [
        ("Pixel size", _pixel_size(values.get("pixel_size"))),
        *((one.label, _short(values.get(one.name))) for one in settings if _is_of_images(one)),
        ("Image size during training", f"{size} x {size} pixels" if size else ""),
    ]


def _pixel_size(size: Any) -> str:
    """As it was answered; where there are several numbers, with the axes that they are of."""
    numbers = len(size.split(" x ")) if isinstance(size, str) else 0
    axes = {2: " (height x width)", 3: " (depth x height x width)"}.get(numbers, "")
    return f"{text(size)}{axes}"


def _is_of_network(setting: Field) -> bool:
    return setting.goes_to.startswith(("weights", "outputs")) and setting.goes_to not in TOLD_ELSEWHERE


def _is_of_images(setting: Field) -> bool:
    return not _is_of_network(setting) and setting.goes_to not in TOLD_ELSEWHERE


def _short(value: Any) -> str:
    """A setting as it was answered; nothing for what could be a file of the person's."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, map(_short, value)))
    return number(value) or ("" if _is_local_path(value) else text(value))


def _training_data(values: Values) -> list[tuple[str, str]]:
    source = values.get("training_data_source")
    return [
        ("Name", text(values.get("training_data_name"))),
        ("Source", link(source) or ("" if _is_local_path(source) else text(source))),
        ("Licence", _licence(values.get("training_data_license"))),
        ("Dataset in the BioImage Model Zoo", text(values.get("training_data_id"))),
    ]


def _training_procedure(values: Values) -> list[tuple[str, str]]:
    size, asked = number(values.get("image_size")), number(values.get("image_size_asked"))
    rows = [
        ("Framework", _framework(values)),
        ("Starting weights", _original(values) or text(_base_model(values))),
        ("Image size (pixels)", f"{size} (asked for: {asked})" if asked and asked != size else size),
        ("Epochs planned", number(values.get("epochs"))),
        ("Epochs done", number(values.get("epochs_done"))),
        ("Best epoch", number(values.get("best_epoch"))),
        ("Batch size", number(values.get("batch"))),
        ("Optimizer", text(values.get("optimizer"))),
        ("Initial learning rate", number(values.get("learning_rate"))),
        ("Augmentation", _augmentation(values.get("augmentation"))),
        ("Seed", number(values.get("seed"))),
        ("Trained on", text(values.get("trained_on"))),
        ("Training time", _duration(values.get("training_seconds"))),
    ]
    return [(name, value) for name, value in rows if value]


def _framework(values: Values) -> str:
    """The framework of the training, after what says its version: `ultralytics_version`, `cellpose_version`."""
    ending = "_version"
    found = ((name.removesuffix(ending), _short(value)) for name, value in values.items() if name.endswith(ending))
    return ", ".join(f"{text(name)} {version}" for name, version in found if version)


def _architecture(values: Values, settings: Sequence[Field]) -> list[tuple[str, str]]:
    parameters = values.get("parameters")
    return [
        ("Architecture", text(values.get("architecture"))),
        ("Parameters", f"{parameters:,}" if isinstance(parameters, int) else ""),
        ("Input channels of the network", number(values.get("input_channels"))),
        *((one.label, _short(values.get(one.name))) for one in settings if _is_of_network(one)),
    ]


def _metrics(values: Values) -> str:
    """The metrics as a table; metrics of several kinds (boxes, masks) get a column each."""
    metrics = values.get("metrics")
    if not isinstance(metrics, Mapping):
        return ""
    kinds = {name: one for name, one in metrics.items() if isinstance(one, Mapping)}
    plain = [(text(name), number(value)) for name, value in metrics.items() if number(value)]
    names = list(dict.fromkeys(name for one in kinds.values() for name, value in one.items() if number(value)))
    rows = [(text(name), *(number(one.get(name)) or "not recorded" for one in kinds.values())) for name in names]
    tables = [
        table(("Metric", "Value"), plain),
        table(("Metric", *(text(kind) for kind in kinds)), rows),
    ]
    shown = "\n\n".join(table for table in tables if table)
    epoch = number(values.get("best_epoch"))
    when = f", at the best epoch ({epoch})" if epoch else ""
    return f"As the run itself recorded them on its validation images{when}.\n\n{shown}" if shown else ""


def _curves(file_name: str | None) -> str:
    if not file_name:
        return ""
    safe = re.sub(r"[^\w.-]", "", _file_name(file_name) or "")
    return f"![Losses and metrics over the epochs of the training run]({safe})"


def _tensors(tensors: Sequence[TensorNote]) -> str:
    rows = [
        (
            f"`{_identifier(one.id)}`",
            "; ".join(f"{text(axis)}: {text(size)}" for axis, size in one.axes.items()),
            text(one.data_type),
            text(one.meaning),
        )
        for one in tensors
    ]
    return table(("Tensor", "Axes and their sizes", "Data type", "What it holds"), rows)


def _snippet(inputs: Sequence[TensorNote], outputs: Sequence[TensorNote]) -> str:
    if not inputs or not outputs:
        return ""
    names = [_identifier(one.id) for one in inputs]
    members = ", ".join(f'"{name}": "{name if len(names) > 1 else "image"}.tif"' for name in names)
    lines = [
        "from bioimageio.core import predict",
        "",
        f'sample = predict(model="package.zip", inputs={{{members}}})',
        *(f'{_identifier(one.id)} = sample.members["{_identifier(one.id)}"].data.to_numpy()' for one in outputs),
    ]
    return "\n".join(
        ["With [bioimageio.core](https://pypi.org/project/bioimageio.core/):", "", "```python", *lines, "```"]
    )


def _where_it_runs(tools: Sequence[ToolReport]) -> list[str]:
    """A row a tool, and below where its rules were read."""
    rows = [
        (text(one.tool), one.runs, text(one.weights) or "none", text(one.why) or "", text(one.remedy) or "")
        for one in tools
    ]
    sources = "\n".join(f"- {text(one.tool)}: {text(one.read)}, {link(one.source)}" for one in tools)
    return (
        [NOT_TRIED, table(("Tool", "Runs there", "With", "Why not", "What would help"), rows), sources] if rows else []
    )


def _citations(citations: Any) -> Iterable[str]:
    for citation in _mappings(citations):
        doi = citation.get("doi")
        found = isinstance(doi, str) and re.fullmatch(r"10\.\d{4,9}/[^\s<>]+", doi)
        where = f"<https://doi.org/{doi}>" if found else link(citation.get("url"))
        if line := " ".join(part for part in (text(citation.get("text")), where) if part):
            yield line


def _person(person: Mapping[str, Any]) -> str:
    orcid, user = person.get("orcid"), person.get("github_user")
    parts = [text(person.get("name")), text(person.get("affiliation"))]
    if isinstance(orcid, str) and re.fullmatch(r"(\d{4}-){3}\d{3}[\dX]", orcid):
        parts.append(f"<https://orcid.org/{orcid}>")
    if isinstance(user, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}", user):
        parts.append(f"<https://github.com/{user}>")
    return ", ".join(part for part in parts if part)


def _licence(licence: Any) -> str:
    if isinstance(licence, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
        return f"[{licence}](https://spdx.org/licenses/{licence}.html)"
    return text(licence)


def _augmentation(augmentation: Any) -> str:
    if not isinstance(augmentation, Mapping):
        return ""
    shown = {
        name: number(value) or (text(value) if not _is_local_path(value) else "")
        for name, value in augmentation.items()
    }
    return ", ".join(f"{text(name)} {value}" for name, value in shown.items() if value)


def _duration(seconds: Any) -> str:
    if not number(seconds) or seconds < 60:
        return f"{number(round(seconds))} s" if number(seconds) else ""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _classes(classes: Any) -> str:
    """The classes as the class image numbers them; one class has no number there."""
    names = [text(name) for name in _list(classes)]
    return names[0] if len(names) == 1 else ", ".join(f"{number} {name}" for number, name in enumerate(names, start=1))


def _base_model(values: Values) -> str:
    """The weights that the training started from, unless their name tells nothing: every run leaves a best.pt."""
    name = _file_name(values.get("base_weights")) or ""
    return "" if name in ("best.pt", "last.pt") else name


def _original(values: Values) -> str:
    """The model whose weights were fine-tuned, by its id in the zoo, with a link, and by its name where that is known.

    Without new weights, that which the package names itself.
    """
    is_new = bool(values.get("new_weights"))
    identity = values.get("parent" if is_new else "parent_of_original")
    name = text(values.get("name_of_original")) if is_new else ""
    if not isinstance(identity, str) or identity == NOT_IN_ZOO:
        return f"{name}, which is not in the zoo" if name else ""
    # ids of other shapes are of other places: doi, huggingface
    linked = f"[{identity}]({ZOO}{identity})" if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", identity) else text(identity)
    return f"{linked} ({name})" if name else linked


def _told_of_original(values: Values) -> str:
    """What is to be added where the validation is still what the original of fine-tuned weights told of itself."""
    original = values.get("original")
    told = original.get("validation") if isinstance(original, Mapping) else None
    return OF_ORIGINAL if told and told == values.get("validation") else ""


def _file_name(value: Any) -> str | None:
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) else None


def _is_local_path(value: Any) -> bool:
    return isinstance(value, str) and bool(re.match(r"\s*([/~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\|file:)", value))


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
