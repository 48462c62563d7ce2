"""The questions that are common to all families: what the zoo's format asks for, and what its reviewers look for.

The format itself insists on a name only. Required here is what no reviewer lets pass and no file can tell: name,
description, authors, licence, modality, the data it was trained on, and a test image, without which nothing can be
tested. Everything else that reviewers ask for is recommended: a model can honestly lack a paper or a pixel size.
"""

from pathlib import Path
from typing import Any, Final

from zoowizard.drafts import checks, people, vocabulary
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.images import check_test_image
from zoowizard.drafts.licences import COMMON, check_data_licence, check_licence
from zoowizard.drafts.pixels import check_pixel_size, tidy_pixel_size

MODALITIES: Final = (
    "fluorescence microscopy",
    "confocal microscopy",
    "light-sheet microscopy",
    "super-resolution microscopy",
    "brightfield microscopy",
    "phase contrast microscopy",
    "differential interference contrast (DIC) microscopy",
    "histology, H&E",
    "histology, immunohistochemistry",
    "electron microscopy",
    "cryo-electron microscopy",
    "X-ray microscopy",
    "atomic force microscopy",
    "high-content imaging",
)
CATEGORIES: Final = ("Participant Models", "Community Interest Models", "Fine-tuned Models")


def parse_choice(choices: tuple[str, ...]) -> Any:
    """Read a choice typed at a prompt: whatever the case of its letters, or the beginning of one choice only."""

    def parse(line: str) -> str:
        typed = line.strip()
        exact = [choice for choice in choices if choice.casefold() == typed.casefold()]
        begun = [choice for choice in choices if typed and choice.casefold().startswith(typed.casefold())]
        return exact[0] if exact else begun[0] if len(begun) == 1 else typed

    return parse


def _path(line: str) -> str:
    typed = line.strip().strip("\"'")
    return str(Path(typed).expanduser().absolute()) if typed else ""


def _tags_help() -> str:
    listed = "; ".join(f"{category}: {', '.join(tags)}" for category, tags in vocabulary.tag_categories().items())
    return (
        f"Words by which people find the model, small letters and dashes. The zoo's own are: {listed}. Others may join."
    )


FIELDS: Final = (
    Field(
        "name",
        "Model name",
        "The name under which people find the model: what it does, to which images. Letters a to z, digits, spaces and "
        "_ + - ( ), 5 to 128 of them.",
        "Nuclei segmentation in fluorescence images (YOLO11n)",
        Need.REQUIRED,
        "Model",
        "text",
        checks.check_name,
        "name",
        parse=str.strip,
        hint=checks.hint_name,
    ),
    Field(
        "description",
        "Description",
        "One or two sentences for the zoo's overview: what goes in, what comes out. 10 to 1024 characters, better "
        "up to 512.",
        "Finds nuclei in 2D fluorescence images and gives every nucleus a number of its own.",
        Need.REQUIRED,
        "Model",
        "paragraph",
        checks.check_description,
        "description",
        parse=str.strip,
        hint=checks.hint_description,
    ),
    Field(
        "license",
        "Licence of the model",
        "Under which licence others may use the weights, as an SPDX identifier (https://spdx.org/licenses). Weights "
        "that were trained with an AGPL-3.0 framework are usually AGPL-3.0-only.",
        "CC-BY-4.0",
        Need.REQUIRED,
        "Model",
        "choice",
        check_licence,
        "license",
        parse=str.strip,
        choices=COMMON,
        open_choice=True,
    ),
    Field(
        "tags",
        "Tags",
        _tags_help(),
        "fluorescence-light-microscopy, 2d, nuclei, instance-segmentation",
        Need.RECOMMENDED,
        "Model",
        "texts",
        checks.check_tags,
        "tags",
        parse=checks.parse_list,
        hint=checks.hint_tags,
    ),
    Field(
        "category",
        "Category",
        "The part of the event's table in which the model stands; others may be named.",
        "Participant Models",
        Need.RECOMMENDED,
        "Model",
        "choice",
        checks.check_line,
        "board: Category",
        parse=parse_choice(CATEGORIES),
        choices=CATEGORIES,
        open_choice=True,
        default="Participant Models",
        hint=checks.hint_among(CATEGORIES),
    ),
    Field(
        "version",
        "Version",
        "The version of this model, as numbers with dots. Raise it when the weights change.",
        "0.1.0",
        Need.OPTIONAL,
        "Model",
        "text",
        checks.check_version,
        "version",
        parse=str.strip,
        default="0.1.0",
    ),
    Field(
        "git_repo",
        "Source code",
        "The web address of the repository where the model is developed, if there is one.",
        "https://github.com/ada/nuclei-model",
        Need.OPTIONAL,
        "Model",
        "text",
        checks.check_url,
        "git_repo",
        parse=str.strip,
        deferred=lambda answer: f"does {answer} answer?" if answer else None,
    ),
    Field(
        "authors",
        "Authors",
        "Who made the model, and how to cite them: name, affiliation, ORCID iD, and if they like e-mail and GitHub "
        "user. On one line: parts with commas, people with semicolons.",
        "Ada Lovelace, University of London, 0000-0002-1825-0097; Grace Hopper",
        Need.REQUIRED,
        "People",
        "people",
        people.check_authors,
        "authors",
        parse=people.parse_people,
        deferred=people.github_users,
    ),
    Field(
        "maintainers",
        "Maintainers",
        "Who answers questions about the model on GitHub: the GitHub user name, and the name. Without one the authors' "
        "GitHub users are asked.",
        "Ada Lovelace, @ada",
        Need.RECOMMENDED,
        "People",
        "people",
        people.check_maintainers,
        "maintainers",
        parse=people.parse_maintainers,
        deferred=people.github_users,
    ),
    Field(
        "trained_by",
        "Trained by",
        "Who trained the model, where it was not the authors.",
        "Ada Lovelace (PhD student), Human Technopole",
        Need.OPTIONAL,
        "People",
        "text",
        checks.check_line,
        "documentation: Model details",
        parse=str.strip,
    ),
    Field(
        "citations",
        "What to cite",
        "The paper of the model, of its method or of its data: a text, and a DOI or web address. On one line: the DOI "
        "or address last, citations with semicolons.",
        "Caicedo et al., Nucleus segmentation across imaging experiments, 2019, 10.1038/s41592-019-0612-7",
        Need.RECOMMENDED,
        "People",
        "citations",
        people.check_citations,
        "cite",
        parse=people.parse_citations,
    ),
    Field(
        "funding",
        "Funding",
        "Who paid for the work, with the number of the grant.",
        "Horizon Europe, grant 101057970",
        Need.OPTIONAL,
        "People",
        "text",
        checks.check_line,
        "config.bioimageio.funded_by",
        parse=str.strip,
    ),
    Field(
        "modality",
        "Modality",
        "How the images that the model takes were made. Choose one, or write your own.",
        "fluorescence microscopy",
        Need.REQUIRED,
        "Data",
        "choice",
        checks.check_line,
        "config.bioimageio.modality",
        parse=parse_choice(MODALITIES),
        choices=MODALITIES,
        open_choice=True,
        hint=checks.hint_among(MODALITIES),
    ),
    Field(
        "pixel_size",
        "Pixel size",
        "How much of the sample one pixel of the training images covers, with its unit; height x width where they "
        "differ.",
        "0.32 micrometer",
        Need.RECOMMENDED,
        "Data",
        "text",
        check_pixel_size,
        "inputs: scale and unit of the axes y and x",
        parse=tidy_pixel_size,
    ),
    Field(
        "training_data_name",
        "Training data",
        "The name of the data set that the model was trained on.",
        "2018 Data Science Bowl, stage 1 (BBBC038)",
        Need.REQUIRED,
        "Data",
        "text",
        checks.check_line,
        "documentation: Training data",
        parse=str.strip,
    ),
    Field(
        "training_data_source",
        "Source of the data",
        "Where the training data can be had: a web address or DOI, or in words where they are not public.",
        "https://bbbc.broadinstitute.org/BBBC038",
        Need.RECOMMENDED,
        "Data",
        "text",
        checks.check_source,
        "documentation: Training data",
        parse=str.strip,
    ),
    Field(
        "training_data_license",
        "Licence of the data",
        "The licence of the training data, as an SPDX identifier, or its terms in words.",
        "CC0-1.0",
        Need.RECOMMENDED,
        "Data",
        "choice",
        check_data_licence,
        "documentation: Training data",
        parse=str.strip,
        choices=("CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "MIT"),
        open_choice=True,
    ),
    Field(
        "training_data_id",
        "Data set in the zoo",
        "Only where the data set itself is an entry of bioimage.io: its id there, as it stands at the end of its "
        "page's address. Leave it out otherwise.",
        "happy-otter",
        Need.OPTIONAL,
        "Data",
        "text",
        checks.check_dataset_id,
        "training_data",
        parse=str.strip,
        deferred=lambda answer: f"is {answer} the id of a data set in the zoo?" if answer else None,
    ),
    Field(
        "intended_use",
        "Intended use",
        "For which images and which question the model is good.",
        "Counting and outlining nuclei in widefield images of cultured cells, DAPI or Hoechst, 10x to 40x.",
        Need.RECOMMENDED,
        "Use",
        "paragraph",
        checks.check_paragraph,
        "documentation: Intended use",
        parse=str.strip,
    ),
    Field(
        "limitations",
        "Limitations",
        "Where the model fails, as far as you know: other stains, other sizes, crowded or blurred images.",
        "Misses nuclei under 8 pixels across; merges nuclei that overlap; not tried on tissue.",
        Need.RECOMMENDED,
        "Use",
        "paragraph",
        checks.check_paragraph,
        "config.bioimageio.bias_risks_limitations.limitations",
        parse=str.strip,
    ),
    Field(
        "validation",
        "Validation",
        "How well it works on images it was not trained on, beyond what the training run itself tells.",
        "F1 at IoU 0.5 of 0.91 on 50 held-out images from another microscope.",
        Need.RECOMMENDED,
        "Use",
        "paragraph",
        checks.check_paragraph,
        "documentation: Validation",
        parse=str.strip,
    ),
    Field(
        "test_image",
        "Test image",
        "An image file like those of the training, with objects in it: 8-bit, grey or RGB, at least 64 x 64 pixels, "
        "PNG or TIFF. It is published with the model, so it must be yours to give.",
        "images/nuclei.png",
        Need.REQUIRED,
        "Test image",
        "path",
        check_test_image,
        "inputs: test and sample tensor, cover",
        parse=_path,
    ),
)
"""The common questions in the order in which they are asked; a family's own come after them."""
