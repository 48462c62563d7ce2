from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import yaml

from zoowizard.drafts.answers import AnswersInvalid, changed, read_answers, template
from zoowizard.drafts.completeness import defaults
from zoowizard.drafts.draft import CHECKPOINT, Draft, Value, with_found, with_given
from zoowizard.drafts.questions import FIELDS
from zoowizard.errors import ExitCode

EMPTY = Draft("nuclei", "yolo", Path("runs/best [v2].pt"), "2026-01-01T00:00:00+00:00")


def written(folder: Path, text: str) -> Path:
    path = folder / "answers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(AnswersInvalid) as raised:
        read_answers(written(folder, text), FIELDS)
    assert raised.value.exit_code is ExitCode.WRONG_USE
    assert all(line.startswith(str(folder / "answers.yaml")) for line in str(raised.value).splitlines())
    return str(raised.value)


def test_an_empty_template_is_yaml_and_answers_nothing(tmp_path: Path) -> None:
    text = template(EMPTY, FIELDS)
    assert set(read_answers(written(tmp_path, text), FIELDS).values()) == {None}
    assert changed(EMPTY, read_answers(written(tmp_path, text), FIELDS)) == {}
    for field in FIELDS:
        assert f"\n{field.name}:" in text or f"\n# {field.name}:" in text
        assert field.example in text and field.need in text
    assert "\n# git_repo:" in text and "\nname:" in text
    assert all(len(line) <= 160 for line in text.splitlines())


def test_every_example_may_be_written_into_the_file_as_it_stands(tmp_path: Path) -> None:
    asked = [field for field in FIELDS if field.kind != "path"]
    text = "".join(f"{field.name}: {field.example}\n" for field in asked)
    assert read_answers(written(tmp_path, text), FIELDS) == {field.name: field.parse(field.example) for field in asked}


AWKWARD = {
    "description": 'Segments: "nuclei" #1 | 核 {and} [cells]\nin two lines\t& a 🦠 \u202e.',
    "trained_by": "Жанна [née 王], 'O'Neil' - yes",
    "training_data_name": "no",
    "modality": "1.5",
    "tags": ["2d", "yes", "null", "核", "a: b"],
    "authors": [{"name": "Ada: [Lovelace] #1", "affiliation": "X & Y | Z", "orcid": "0000-0002-1825-0097"}],
    "citations": [{"text": "A: b [c] {d} 'e' \"f\"", "doi": "10.1000/182"}],
}


def test_known_values_of_any_script_come_back_as_they_were(tmp_path: Path) -> None:
    draft = with_given(EMPTY, AWKWARD)
    draft = with_found(draft, {"license": Value("AGPL-3.0-only", CHECKPOINT), **defaults(FIELDS)})
    text = template(draft, FIELDS)
    assert "# From checkpoint:" in text and "# From default:" in text and "# As answered before:" in text
    told = read_answers(written(tmp_path, text), FIELDS)
    read = {name: answer for name, answer in told.items() if answer is not None}
    assert read == {**AWKWARD, "license": "AGPL-3.0-only", "version": "0.1.0", "category": "Participant Models"}
    assert yaml.safe_load(text)["trained_by"] == AWKWARD["trained_by"]
    assert changed(draft, told) == {}
    assert changed(draft, {**told, "license": "MIT"}) == {"license": "MIT"}


def test_a_path_that_is_no_utf8_does_not_break_the_template(tmp_path: Path) -> None:
    draft = with_given(EMPTY, {"test_image": "bad-\udcff.png", "trained_by": "Ada"})
    told = read_answers(written(tmp_path, template(draft, FIELDS)), FIELDS)
    assert told["trained_by"] == "Ada" and "test_image" not in told
    assert changed(draft, told) == {}


def test_texts_stand_for_lists_as_at_a_prompt(tmp_path: Path) -> None:
    text = "authors: Ada Lovelace, ETH; Grace Hopper\nmaintainers: [ada]\ntags: 2d, nuclei\n"
    assert read_answers(written(tmp_path, text), FIELDS) == {
        "authors": [{"name": "Ada Lovelace", "affiliation": "ETH"}, {"name": "Grace Hopper"}],
        "maintainers": [{"github_user": "ada"}],
        "tags": ["2d", "nuclei"],
    }


def test_a_relative_test_image_lies_beside_the_answers_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    imageio.imwrite(tmp_path / "nuclei.png", np.indices((64, 64)).sum(axis=0).astype(np.uint8))
    written(tmp_path, "test_image: nuclei.png\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    read = read_answers(Path("../answers.yaml"), FIELDS)
    assert Path(read["test_image"]).samefile(tmp_path / "nuclei.png")


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    said = refused(
        tmp_path,
        "name: 5\nlicence: MIT\nlicense: MITT\nversion: 1.0\nauthors: 7\ntags: {a: b}\nmodality: [a]\n"
        "test_image: gone.png\npixel_size: 0.32\ndescription: true\nmodality: again\n",
    )
    assert len(said.splitlines()) == 11
    for part in (
        "name (line 1): is the number 5",
        "licence (line 2): is no field; did you mean license?",
        "did you mean MIT?",
        "version (line 4): is the number 1.0; write the version as a text",
        "authors (line 5): is the number 7",
        "tags (line 6)",
        "modality (line 7): is a list; write one text",
        "gone.png does not exist",
        "write for example 0.32 micrometer",
        "description (line 10): is a yes or no",
        "modality (line 11): stands there twice, first in line 7",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name:\n\t- x\n", "line 2: begins with a tab"),
        ("name: nuclei: the model\n", "line 1: is no YAML: a text with a colon in it must stand between quotes"),
        ("description: 'open\n", "is no YAML"),
        ("- name\n", "is no list of answers"),
        ("just words\n", "is no list of answers"),
        ("name: a model\x00\n", "characters or nesting"),
        ("authors: [{name: Ada, name: Bob}]\n", "has `name` twice"),
        ("authors: [&a {name: Ada}, *a]\n", "YAML reference"),
        ("name: !!python/object/apply:os.system [ls]\n", "name (line 1)"),
        ("name: !!int many\n", "which cannot be read"),
        pytest.param("tags: " + "[" * 10_000, "characters or nesting", id="very deep"),
        ("maintainers: @ada\n", "line 1: is no YAML: put the text in `maintainers: @ada` between quotes"),
        ("? [a]\n: b\n", "is no field"),
        ("tags: [a, , b]\n", "line 1: has nothing before a comma in `tags: [a, , b]`; write each entry once"),
        ("tags: [[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]\n", "too deeply"),
    ],
)
def test_what_is_no_answers_file(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)


def test_files_that_cannot_be_taken(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(AnswersInvalid) as raised:
            read_answers(path, FIELDS)
        return str(raised.value)

    (tmp_path / "latin.yaml").write_bytes("trained_by: Ada\nname: Zellkerne für alle\n".encode("latin-1"))
    (tmp_path / "big.yaml").write_bytes(b"#" * 2_000_000)
    assert "not UTF-8 (line 2)" in refusal(tmp_path / "latin.yaml")
    assert "too big" in refusal(tmp_path / "big.yaml")
    assert "does not exist" in refusal(tmp_path / "absent.yaml")
    assert "is no file" in refusal(tmp_path)


def test_an_empty_answer_takes_an_earlier_one_back(tmp_path: Path) -> None:
    assert read_answers(written(tmp_path, ""), FIELDS) == {}
    empty = read_answers(written(tmp_path, "\ufeffname:\nauthors: []\ntrained_by: ''\ntags: ~\nlicense: ' '\n"), FIELDS)
    draft = with_given(EMPTY, {"trained_by": "Ada", "tags": ["2d"], "modality": "fluorescence", "license": "MIT"})
    draft = with_found(draft, {"license": Value("AGPL-3.0-only", CHECKPOINT)})
    now = with_given(draft, changed(draft, empty))
    assert {name: known.value for name, known in now.given.items()} == {"modality": "fluorescence"}
    assert now.get("license") == "AGPL-3.0-only", "what the files tell stays"
    person = "authors:\n  - name: Ada\n    orcid:\n    email: ''\n"
    assert read_answers(written(tmp_path, person), FIELDS) == {"authors": [{"name": "Ada"}]}
