"""Top losses of each kind of target, of real learners: what is drawn, and in which order."""

import matplotlib as mpl
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn
from torte.data import DataBlock, IndexSplitter, MultiCategoryBlock, RegressionBlock
from torte.data.images import PILImage
from torte.learner import Interpretation, Learner
from torte.learner.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, MSELossFlat
from torte.vision.blocks import BBoxBlock, ImageBlock, MaskBlock, PointBlock

SIZE = 32


@pytest.fixture(autouse=True)
def no_window():
    mpl.use("Agg")


def square(i: int) -> tuple[int, int, int, int]:
    """The corners of the square in picture number `i`."""
    left, top = 3 + i % 4 * 3, 4 + i * 2
    return left, top, left + 9, top + 9


def picture(i: int) -> PILImage:
    image = Image.new("RGB", (SIZE, SIZE), (40, 60, 90))
    ImageDraw.Draw(image).rectangle(square(i), fill=(230, 160, 30))
    return PILImage.create(image)


def mask(i: int) -> Image.Image:
    image = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(image).rectangle(square(i), fill=1)
    return image


def centre(i: int) -> list[list[float]]:
    left, top, right, bottom = square(i)
    return [[(left + right) / 2, (top + bottom) / 2]]


class Untrained(nn.Module):
    """An untrained network with outputs of the shape of the targets."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * SIZE * SIZE, torch.Size(shape).numel())
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).reshape(-1, *self.shape)


def interpreted(block, get_y, shape, loss) -> Interpretation:
    torch.manual_seed(0)
    data = DataBlock(
        blocks=(ImageBlock, block),
        get_x=picture,
        get_y=get_y,
        splitter=IndexSplitter(range(4, 9)),
    )
    dls = data.dataloaders(list(range(9)), bs=2, num_workers=0, device="cpu")
    learn = Learner(dls, Untrained(shape), loss_func=loss)
    return Interpretation.from_learner(learn)


def image_target(i: int) -> PILImage:
    return PILImage.create(picture(i).rotate(90))


KINDS = {
    "several labels": (
        MultiCategoryBlock(vocab=["low", "left"]),
        lambda i: [n for n, held in (("low", i > 5), ("left", i % 4 < 2)) if held],
        (2,),
        BCEWithLogitsLossFlat(),
    ),
    "mask": (
        MaskBlock(codes=["ground", "square"]),
        mask,
        (2, SIZE, SIZE),
        CrossEntropyLossFlat(axis=1),
    ),
    "points": (PointBlock, centre, (1, 2), MSELossFlat()),
    "boxes": (BBoxBlock, lambda i: [square(i)], (1, 4), MSELossFlat()),
    "image": (ImageBlock, image_target, (3, SIZE, SIZE), MSELossFlat()),
    "number": (RegressionBlock(), lambda i: i / 4, (1,), MSELossFlat()),
    "numbers": (RegressionBlock(n_out=3), lambda i: [i, -i, i / 2], (3,), MSELossFlat()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_largest_losses_come_first_each_above_its_picture(kind):
    interp = interpreted(*KINDS[kind])
    axes = list(interp.plot_top_losses(3))
    losses, numbers = interp.top_losses(3)
    each = len(axes) // 3
    assert each == (2 if kind in ("mask", "points", "boxes", "image") else 1)
    for ax, loss, number in zip(axes[::each], losses, numbers, strict=True):
        written = ax.get_title().splitlines()[-1].removeprefix("loss ")
        assert float(written) == pytest.approx(float(loss), rel=5e-3, abs=5e-3)
        shown = torch.as_tensor(ax.images[0].get_array().data)
        expected = image_target if kind == "image" else picture
        pixels = expected(4 + int(number)).to_tensor().permute(1, 2, 0)
        torch.testing.assert_close(shown.float(), pixels.float(), atol=1, rtol=0)
