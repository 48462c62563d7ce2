import subprocess
import sys
from typing import get_args

from zoowizard.drafts import vocabulary


def test_the_lists_are_those_of_the_installed_library() -> None:
    from bioimageio.spec._internal.constants import TAG_CATEGORIES
    from bioimageio.spec.model.v0_5 import SpaceUnit
    from bioimageio.spec.utils import get_spdx_licenses

    licences = get_spdx_licenses()["licenses"]
    assert set(vocabulary.licences()) == {one["licenseId"] for one in licences if not one["isDeprecatedLicenseId"]}
    deprecated = {one["licenseId"] for one in licences if one["isDeprecatedLicenseId"]}
    assert set(vocabulary.deprecated_licences()) == deprecated
    tags = {category: tuple(tags) for category, tags in TAG_CATEGORIES["model"].items()}
    assert vocabulary.tag_categories() == tags
    assert set(vocabulary.space_units()) == set(get_args(SpaceUnit))


def test_the_questions_need_nothing_heavy() -> None:
    code = (
        "import sys, zoowizard.drafts.completeness, zoowizard.drafts.answers, zoowizard.drafts.store, "
        "zoowizard.board.rows, zoowizard.board.markdown; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'torch', 'bioimageio', 'textual', 'ultralytics', 'numpy', 'PIL', 'imageio', 'tifffile', 'yaml'}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
