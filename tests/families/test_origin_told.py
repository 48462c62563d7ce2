"""What checkpoints tell that CAREamics and BiaPy themselves wrote."""

from pathlib import Path
from typing import Any

import pytest
import torch
from old_packages import old_package
from torch import nn

from zoowizard.families import origins
from zoowizard.families.arguments import arguments
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle
from zoowizard.workflow import draft_in_memory, unready

ORIGINS = Path(__file__).parents[1] / "origins"
CAREAMICS, BIAPY = ORIGINS / "careamics-0.3.5", ORIGINS / "biapy-3.7.1"


def one(path: Path) -> Recognition:
    [found] = identify(path)
    return found


def told(recognition: Recognition) -> dict[str, Any]:
    return {name: known.value for name, known in recognition.values.items()}


def test_a_checkpoint_of_careamics_leaves_nothing_to_be_asked_of_its_network() -> None:
    found = one(CAREAMICS / "waves_last.ckpt")
    values = told(found)
    assert "CAREamics wrote it for its format 0.3.0" in found.evidence
    assert (values["name"], values["network"]) == ("waves", "UNet")
    assert Path(values["architecture_file"]).is_file()
    assert [float(one) for one in values["normalisation_mean"]] == pytest.approx([1282.11], abs=0.01)
    assert [float(one) for one in values["normalisation_std"]] == pytest.approx([520.5], abs=0.01)
    draft = draft_in_memory(found)
    missing = set(unready(draft))
    assert "test_image" in missing and not missing & {"architecture_file", "network", "normalisation"}
    made = arguments({name: known.value for name, known in draft.values.items()})
    assert {name: made[name] for name in ("conv_dims", "depth", "num_channels_init", "n2v2")} == {
        "conv_dims": 2, "depth": 1, "num_channels_init": 8, "n2v2": False,
    }  # fmt: skip
    # CARE has another image as its target, whose values the output has
    [mean], [std] = made["output_mean"], made["output_std"]
    assert mean == pytest.approx(2 * 1282.11 + 100, rel=0.02) and std == pytest.approx(2 * 520.5, rel=0.1)


def test_of_the_checkpoints_of_careamics_the_one_with_the_least_loss_is_listed() -> None:
    listed = [found.path.name for found in identify(CAREAMICS) if found.family == "pytorch"]
    assert listed == ["waves_00_step_3_0.7504.ckpt"]  # with which CAREamics predicts
    for name in ("waves_01_step_6_0.7527.ckpt", "waves_last.ckpt"):
        other = one(CAREAMICS / name)
        assert told(other)["name"] == "waves"
        assert [warning.code for warning in other.warnings] == ["not-the-last"]


def test_a_package_of_careamics_needs_no_careamics() -> None:
    found = one(CAREAMICS / "n2v2.zip")
    assert told(found)["made_by"] == "CAREamics" and obstacle(found) is None


def test_a_checkpoint_of_biapy_says_where_its_network_is() -> None:
    found = one(BIAPY / "spots_1-checkpoint-best.pth")
    values = told(found)
    assert any("BiaPy 3.7.1 wrote it" in sentence and "model.py" in sentence for sentence in found.evidence)
    assert (values["name"], values["normalisation"]) == ("spots 1", "zero-mean")
    assert values["hyper_parameters"]["feature_maps"] == [4, 8, 8]
    # as its own export has them: the network gives probabilities, as a tensor
    assert values["hyper_parameters"]["explicit_activations"] is True
    assert told(one(BIAPY / "spots.zip"))["made_by"] == "BiaPy"


def test_what_zerocostdl4mic_exports_for_deepimagej(tmp_path: Path) -> None:
    path = old_package(
        tmp_path / "unet",
        tags=["zerocostdl4mic", "deepimagej", "segmentation", "tem", "unet"],
        cite=[{"text": "ZeroCostDL4Mic", "doi": "https://doi.org/10.1038/s41467-021-22518-0"}],
        weights={"keras_hdf5": {"source": "weights.pt"}},
    )
    found = one(path.parent)
    assert told(found)["made_by"] == "ZeroCostDL4Mic"
    assert told(found)["citations"] == [{"text": "ZeroCostDL4Mic", "doi": "10.1038/s41467-021-22518-0"}]
    assert "keras_hdf5: tensorflow is not installed here" in (obstacle(found) or "")
    assert "Install that beside zoowizard" in (obstacle(found) or "")


@pytest.mark.parametrize(
    ("data", "mean", "std"),
    [
        ({"normalization": {"name": "min_max", "input_mins": [5.0], "input_maxes": [55.0]}}, ["5.0"], ["50.0"]),
        (
            {
                "normalization": {
                    "name": "quantile",
                    "input_lower_quantile_values": [5],
                    "input_upper_quantile_values": [9],
                }
            },
            ["5.0"],
            ["4.0"],
        ),
        ({"normalization": {"name": "mean_std", "input_means": None, "input_stds": None}}, None, None),
        ({"normalization": {"name": "mean_std", "input_means": [1.0], "input_stds": [0.0]}}, None, None),
        ({"normalization": {"name": "mean_std", "input_means": ["one"], "input_stds": {"a": 1}}}, None, None),
        ({"normalization": {"name": "mean_std", "input_means": [10**400], "input_stds": [1.0]}}, None, None),
        ({"normalization": {"name": "mean_std", "input_means": ["nan"], "input_stds": [1.0]}}, None, None),
        ({"normalization": "mean_std"}, None, None),
    ],
)
def test_statistics_of_careamics_in_all_its_versions(
    tmp_path: Path, data: dict[str, Any], mean: list[str] | None, std: list[str] | None
) -> None:
    model = {"architecture": "UNet", "conv_dims": 2, "in_channels": 2}
    contents = {
        "state_dict": {"model.final_conv.weight": nn.Conv2d(2, 1, 1).weight.detach()},
        "hyper_parameters": {"algorithm_config": {"algorithm": "n2v", "model": model}},
        "datamodule_hyper_parameters": {"data_config": data},
    }
    torch.save(contents, tmp_path / "net.ckpt")
    values = told(one(tmp_path / "net.ckpt"))
    assert values["network"] == "UNet"
    assert (values.get("normalisation_mean"), values.get("normalisation_std")) == (mean, std)
    assert ("output_mean" in values["hyper_parameters"]) == (mean is not None)


def test_a_checkpoint_of_careamics_0_1(tmp_path: Path) -> None:
    """Its whole configuration lies among the hyper-parameters, as 0.1.0 wrote it, with numbers as texts."""
    model = {"architecture": "UNet", "conv_dims": 2, "num_classes": 1, "in_channels": 1, "depth": 2}
    data = {"image_means": ["1.2127299e+03"], "image_stds": ["4.4908505e+02"], "target_means": [], "target_stds": []}
    algorithm = {"algorithm": "n2v", "loss": "n2v", "model": model}
    contents = {
        "state_dict": {"model.final_conv.weight": nn.Conv2d(2, 1, 1).weight.detach()},
        "hyper_parameters": {"version": "0.1.0", "algorithm_config": algorithm, "data_config": data},
    }
    torch.save(contents, tmp_path / "net.ckpt")
    found = one(tmp_path / "net.ckpt")
    assert "CAREamics wrote it for its format 0.1.0" in found.evidence
    assert told(found)["normalisation_mean"] == ["1212.7299"]
    assert told(found)["hyper_parameters"]["output_std"] == [449.08505]


def test_other_networks_of_careamics_are_asked_as_any_other() -> None:
    root = {"careamics_info": {}, "hyper_parameters": {"algorithm_config": {"model": {"architecture": "LVAE"}}}}
    assert origins.values(root) == {} and origins.settings(root) == {}
    assert list(origins.told(root)) == ["CAREamics wrote it"]
