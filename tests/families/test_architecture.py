"""What a file of Python says of the networks in it, read without running it."""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from zoowizard.drafts.fields import Field, Need
from zoowizard.errors import ZoowizardError
from zoowizard.families.architecture import candidates, definitions, in_library, missing_imports, parsed, signature
from zoowizard.families.arguments import arguments, fields_for, read_json
from zoowizard.families.signatures import NOTHING

UNET = """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, after): ...
        def forward(self, x): ...

    class DiceLoss(nn.Module):
        def forward(self, a, b): ...

    class UNet(nn.Module):
        '''A U-Net for membranes.'''
        def __init__(self, in_channels: int, out_channels=1, *, depth: "int" = 3, rate: float = 0.1, wide=False,
                     widths=(16, 32), names=("a", "b"), act=nn.ReLU, norm: str | None = None, mode: Literal["up", "skip"] = "up",
                     scale: tuple[int, int] = (2, 2), head: str = "plain", **kwargs):
            self.block = Block(1, 2)

    raise SystemExit("this file was run")
"""  # noqa: E501


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str, name: str = "unet.py") -> Path:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(dedent(text))
        return tmp_path / name

    return written


def asked(path: Path, **more: Any) -> dict[str, Field]:
    values = {"architecture_file": str(path), "network": "UNet", **more}
    return {one.name.removeprefix("argument_"): one for one in fields_for(values)}


def test_the_network_is_what_no_other_is_made_of(write: Any) -> None:
    code = parsed(write(UNET))
    assert [(one.name, one.says) for one in candidates(code)] == [("UNet", "A U-Net for membranes.")]
    assert definitions(code) == ["Block", "DiceLoss", "UNet"]


def test_a_function_that_makes_the_network_is_a_second_candidate(write: Any) -> None:
    maker = (
        "\ndef unet_small(depth=2):\n    net = UNet(1, depth=depth)\n    return net\ndef train(net):\n    return net\n"
    )
    code = parsed(write(dedent(UNET) + maker))
    assert [one.name for one in candidates(code)] == ["UNet", "unet_small"]
    made = signature(code, "unet_small")
    assert made is not None and [one.name for one in made.parameters] == ["depth"]


def test_a_signature_tells_kinds_and_defaults(write: Any) -> None:
    told = signature(parsed(write(UNET)), "UNet")
    assert told is not None and told.more
    assert {one.name: (one.kind, one.default) for one in told.parameters} == {
        "in_channels": ("whole number", NOTHING),
        "out_channels": ("number", 1),
        "depth": ("whole number", 3),
        "rate": ("number", 0.1),
        "wide": ("yes or no", False),
        "widths": ("list", [16, 32]),
        "names": ("list", ["a", "b"]),
        "act": ("json", NOTHING),
        "norm": ("json", None),
        "mode": ("choice", "up"),
        "scale": ("list", [2, 2]),
        "head": ("text", "plain"),
    }
    by_name = {one.name: one for one in told.parameters}
    assert [name for name, one in by_name.items() if one.required] == ["in_channels"]
    assert by_name["act"].told == "nn.ReLU"


def test_each_parameter_is_a_question_with_its_default(write: Any) -> None:
    fields = asked(write(UNET))
    assert fields["in_channels"].need is Need.REQUIRED and fields["in_channels"].default is None
    assert (fields["depth"].kind, fields["depth"].default) == ("number", 3)
    assert (fields["wide"].choices, fields["wide"].default) == (("True", "False"), "False")
    assert fields["widths"].default == ["16", "32"]
    assert "left out, nn.ReLU" in fields["act"].help
    assert fields["depth"].check(3.5) == "is 3.5; write a whole number"
    assert fields["mode"].check("down") is not None and fields["mode"].check("skip") is None


def test_the_weights_and_the_training_tell_what_stands_there_at_first(write: Any) -> None:
    known = {"input_channels": 2, "output_channels_guessed": 5, "hyper_parameters": {"depth": 4, "rate": "a lot"}}
    fields = asked(write(UNET), **known)
    assert fields["in_channels"].default == 2 and fields["in_channels"].need is Need.OPTIONAL
    assert fields["out_channels"].default == 5
    assert fields["depth"].default == 4
    assert fields["rate"].default == 0.1  # what was found is no number


def test_the_answers_become_keyword_arguments(write: Any) -> None:
    path = write(UNET)
    answers = {"in_channels": 1, "depth": 4.0, "wide": "True", "widths": ["8", "16", "24"], "names": ["a", "b"],
               "act": "", "norm": "batch", "scale": ["2", "2"]}  # fmt: skip
    values = {f"argument_{name}": answer for name, answer in answers.items()}
    values |= {"architecture_file": str(path), "network": "UNet", "more_arguments": '{"extra": [1, null]}'}
    made = arguments({**values, "argument_of_another": 3})
    assert made == {
        "in_channels": 1, "depth": 4, "wide": True, "widths": [8, 16, 24], "norm": "batch", "extra": [1, None]
    }  # fmt: skip
    assert type(made["depth"]) is int


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("[1, [2, 3]]", [1, [2, 3]]), ("(2, 2)", [2, 2]), ("None", None), ("true", True), ("relu", "relu")],
)
def test_a_value_may_be_written_as_json_or_as_python(text: str, value: Any) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize("text", ["[1, 2", "__import__('os')", "{1: 2}"])
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no value"):
        read_json(text)


def test_an_inherited_signature_is_found(write: Any) -> None:
    text = (
        "class Base(Module):\n    def __init__(self, depth=2): ...\nclass UNet(Base):\n    def forward(self, x): ...\n"
    )
    told = signature(parsed(write(text)), "UNet")
    assert told is not None and [one.name for one in told.parameters] == ["depth"]


def test_a_library_is_looked_up_without_importing_it(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("from .unet import *\nraise SystemExit('imported')", "madeup/nets/__init__.py")
    write("raise SystemExit('imported')", "madeup/__init__.py")
    write("class _Real(Module):\n    def __init__(self, spatial_dims: int, in_channels: int): ...\nUNet = _Real",
          "madeup/nets/unet.py")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    code, name = in_library("madeup.nets.UNet")
    assert (code.path, name) == (tmp_path / "madeup" / "nets" / "unet.py", "_Real")
    fields = fields_for({"network": "madeup.nets.UNet", "spatial_axes_found": 3})
    assert [(one.name, one.default) for one in fields] == [("argument_spatial_dims", 3), ("argument_in_channels", None)]
    assert "madeup" not in sys.modules


@pytest.mark.parametrize(
    ("dotted", "words"),
    [
        ("UNet", "give the architecture's file first"),
        ("not_there.nets.UNet", "the library not_there, which is not installed here"),
        ("torch.nn.Conv9d", "is not found in the installed torch.nn"),
    ],
)
def test_a_name_that_leads_nowhere_is_said_so(dotted: str, words: str) -> None:
    with pytest.raises(ZoowizardError, match=words):
        in_library(dotted)


def test_what_is_imported_and_not_there_is_named(write: Any) -> None:
    text = """
        import torch, not_there.deep
        from .blocks import Block
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import only_for_types
        try:
            import maybe_there
        except ImportError:
            maybe_there = None
        def later():
            import used_elsewhere
    """
    assert missing_imports(parsed(write(text))) == ["not_there.deep", ".blocks"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"class UNet(:\n", "line 1"),
        (b"\0\0", "is no Python"),
        (b"# -*- coding: latin-7 -*-\n", "is no Python"),
        (b"x = " + b"-" * 900_000 + b"1", "is no Python"),
        (b"#" * 1_000_001, "is over 1 MB"),
    ],
)
def test_a_file_that_is_no_python_is_refused_in_a_sentence(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "unet.py").write_bytes(raw)
    with pytest.raises(ZoowizardError, match=words):
        parsed(tmp_path / "unet.py")
