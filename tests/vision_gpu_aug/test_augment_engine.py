"""The engine: draws, batches of semantic tensors, fusion in pipelines, dtypes, bad input."""

import json
import pickle
import runpy
from pathlib import Path

import pytest
import torch
from support.augmenting import smooth_images
from torte.data.numeric import IntToFloatTensor, Normalize
from torte.data.seeding import drawing_batch, mix
from torte.data.tensors import (
    TensorBBox,
    TensorCategory,
    TensorImage,
    TensorImageBW,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
)
from torte.dispatch import Pipeline, describe, rebuild
from torte.vision.augment import (
    Augment,
    Augmentation,
    Brightness,
    Contrast,
    Dihedral,
    Flip,
    GaussianBlur,
    RandomCropGPU,
    RandomErasing,
    RandomResizedCropGPU,
    Rotate,
    SpatialAugmentation,
    Translate,
    Warp,
    Zoom,
    aug_transforms,
    predict_augmented,
)
from torte.vision.augment.coordinates import diagonal

NORMALIZE = Normalize.from_stats([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])


# -- draws ----------------------------------------------------------------------------------------


def test_a_sample_depends_on_its_own_key_alone():
    images = smooth_images(6).float()
    engine = Augment(*aug_transforms())
    keys = torch.tensor([3, 1, 4, 1, 5, 9])
    whole = engine(images, keys=keys)
    order = torch.tensor([5, 2, 0])
    assert torch.equal(engine(images[order], keys=keys[order]), whole[order])
    assert torch.equal(engine(images, keys=keys), whole)
    assert not torch.equal(engine(images, keys=keys + 1), whole)


def test_samples_get_draws_of_their_own():
    image = smooth_images(1).float().expand(8, -1, -1, -1)
    found = Augment(Rotate(p=1))(image, seed=0)
    assert len({tuple(sample.flatten()[:50].tolist()) for sample in found}) == 8


def test_batch_means_one_draw_for_all():
    image = smooth_images(1).float().expand(5, -1, -1, -1)
    found = Augment(*aug_transforms(batch=True, p_affine=1.0))(image, seed=0)
    assert all(torch.equal(sample, found[0]) for sample in found)


def test_the_draws_of_a_transform_do_not_depend_on_the_others():
    images = torch.rand(5, 3, 20, 20)
    alone = Augment(Rotate(p=1)).plan(images, seed=7).maps[0].matrix
    neighbours = Augment(Brightness(p=1), GaussianBlur(p=1), Rotate(p=1))
    assert torch.equal(neighbours.plan(images, seed=7).maps[0].matrix, alone)


def test_two_of_a_kind_draw_different_numbers():
    images = torch.rand(5, 3, 20, 20)
    pixels = Augment(Contrast(p=1), GaussianBlur(p=1), Contrast(p=1)).plan(images, seed=7)
    first, _, second = pixels.segments[0].pixels
    assert not torch.equal(first.gain, second.gain)


def test_keys_come_from_the_loader_and_else_from_torch():
    images = smooth_images(4).float()
    engine = Augment(*aug_transforms())
    keys = torch.arange(4) + 100
    with drawing_batch(keys):
        inside = engine(images)
    assert torch.equal(inside, engine(images, keys=keys))
    torch.manual_seed(3)
    first = engine(images)
    torch.manual_seed(3)
    assert torch.equal(engine(images), first)
    assert not torch.equal(engine(images), first)


def test_probability_is_per_sample():
    images = torch.rand(1000, 1, 4, 4)
    matrix = Augment(Flip(p=0.3)).plan(images, seed=2).maps[0].matrix
    assert 0.26 < (matrix[:, 0, 0] < 0).float().mean() < 0.34


def test_hooks_give_numbers_for_all_for_each_or_from_the_images():
    images = smooth_images(3).float()
    for_all = Rotate(p=1, draw=12.0)(images)
    for_each = Rotate(p=1, draw=[12.0, 0.0, -12.0])(images)
    assert torch.equal(for_all[0], for_each[0])
    assert torch.equal(for_each[1], images[1])
    seen = []

    def by_brightness(x):
        seen.append(x.shape)
        return x.mean((1, 2, 3)) * 0 + 12.0

    assert torch.equal(Rotate(p=1, draw=by_brightness)(images), for_all)
    assert seen == [images.shape]
    with pytest.raises(ValueError, match="gave 2 numbers for a batch of 3"):
        Rotate(p=1, draw=[1.0, 2.0])(images)


def test_hooks_are_still_subject_to_p():
    images = torch.rand(200, 1, 4, 4)
    turned = Augment(Rotate(p=0.5, draw=20.0)).plan(images, seed=1).maps[0].matrix[:, 0, 1] != 0
    assert 80 < turned.sum() < 120


# -- batches --------------------------------------------------------------------------------------


def batch_of(n=4):
    return (
        TensorImage((smooth_images(n) * 255).to(torch.uint8)),
        TensorMask(torch.randint(0, 3, (n, 48, 64))),
        TensorPoint(torch.zeros(n, 2, 2), img_size=(64, 48)),
        TensorCategory(torch.arange(n)),
    )


def test_a_tuple_is_changed_in_step_and_keeps_its_types():
    batch = batch_of()
    engine = Augment(*aug_transforms(p_affine=1.0))
    keys = torch.arange(4)
    found = engine(batch, keys=keys)
    assert [type(part) for part in found] == [type(part) for part in batch]
    plain = engine(
        torch.Tensor.as_subclass(batch[0], torch.Tensor),
        masks=torch.Tensor.as_subclass(batch[1], torch.Tensor),
        points=torch.full((4, 2, 2), 1.0) * torch.tensor([32.0, 24.0]),
        keys=keys,
    )
    assert torch.equal(found[0].as_subclass(torch.Tensor), plain.images)
    assert torch.equal(found[1].as_subclass(torch.Tensor), plain.masks)
    unit = plain.points * torch.tensor([2 / 64, 2 / 48]) - 1
    torch.testing.assert_close(found[2].as_subclass(torch.Tensor), unit, atol=1e-6, rtol=0)
    assert found[2].valid.all()
    assert found[3] is batch[3]


def test_nested_and_several_images_share_the_draw():
    image = TensorImage(smooth_images(3).float())
    other = TensorImageBW(image[:, :1].as_subclass(torch.Tensor))
    found = Augment(Rotate(p=1))(((image, other), TensorCategory(torch.arange(3))))
    assert isinstance(found[0][1], TensorImageBW)
    torch.testing.assert_close(
        found[0][0][:, :1].as_subclass(torch.Tensor), found[0][1].as_subclass(torch.Tensor)
    )


def test_sizes_of_points_follow_the_frame():
    batch = batch_of()
    found = Augment(*aug_transforms(size=(24, 32)))(batch, split_idx=1)
    assert found[0].shape[-2:] == (24, 32)
    assert found[1].shape[-2:] == (24, 32)
    assert found[2].img_size == (32, 24)
    torch.testing.assert_close(found[2].as_subclass(torch.Tensor), torch.zeros(4, 2, 2))


def test_dropped_boxes_lose_their_labels():
    image = TensorImage(torch.rand(1, 3, 40, 40))
    boxes = TensorBBox(torch.tensor([[[-0.9, -0.5, -0.5, 0.0], [0.2, -0.5, 0.8, 0.5], [0.0] * 4]]))
    labels = TensorMultiCategory(torch.tensor([[2, 3, 0]]))
    shift = Translate(p=1, draw_x=-0.5, draw_y=0.0, align_corners=False)
    found = Augment(shift, outside="drop")((image, boxes, labels))
    assert found[1].valid.tolist() == [[False, True, False]]
    assert found[2].tolist() == [[0, 3, 0]]
    torch.testing.assert_close(
        found[1].as_subclass(torch.Tensor)[0, 1], torch.tensor([-0.8, -0.5, -0.2, 0.5])
    )
    assert torch.equal(found[1].as_subclass(torch.Tensor)[0, 2], torch.zeros(4))
    kept = Augment(shift)((image, boxes, labels))
    assert kept[2].tolist() == [[2, 3, 0]]


def test_a_batch_without_an_image_is_refused():
    with pytest.raises(TypeError, match="holds no TensorImage"):
        Augment(Flip())((torch.rand(2, 3, 8, 8), torch.zeros(2)))


def test_images_of_different_sizes_in_one_batch_are_refused():
    pair = (TensorImage(torch.rand(2, 3, 8, 8)), TensorImage(torch.rand(2, 3, 8, 9)))
    with pytest.raises(ValueError, match="differ in size"):
        Augment(Flip())(pair)


# -- pipelines ------------------------------------------------------------------------------------


def test_a_pipeline_runs_everything_as_one_engine():
    pipe = Pipeline([NORMALIZE, *aug_transforms(), IntToFloatTensor()])
    batch = batch_of()
    keys = torch.arange(4)
    with drawing_batch(keys):
        found = pipe(batch, split_idx=0)
    assert [type(step) for step in pipe._forward_steps(0)] == [Augment]
    expected = Augment(*aug_transforms(), NORMALIZE)(batch, keys=keys)
    torch.testing.assert_close(
        found[0].as_subclass(torch.Tensor), expected[0].as_subclass(torch.Tensor)
    )
    assert found[0].dtype == torch.float32
    assert found[1].dtype == torch.int64


def test_validation_is_not_augmented_but_resized_and_normalized():
    pipe = Pipeline([IntToFloatTensor(), *aug_transforms(), NORMALIZE])
    batch = batch_of()
    found = pipe(batch, split_idx=1)[0].as_subclass(torch.Tensor)
    expected = (batch[0].as_subclass(torch.Tensor) / 255 - NORMALIZE.mean) / NORMALIZE.std
    torch.testing.assert_close(found, expected)
    sized = Pipeline([IntToFloatTensor(), *aug_transforms(size=(96, 128)), NORMALIZE])
    first, second = (sized(batch, split_idx=1)[0] for _ in range(2))
    assert first.shape[-2:] == (96, 128)
    assert torch.equal(first, second)


def test_decoding_a_fused_pipeline_undoes_its_normalization():
    pipe = Pipeline([IntToFloatTensor(), Brightness(p=0.0), Flip(p=0.0), NORMALIZE])
    batch = batch_of()
    decoded = pipe.decode(pipe(batch, split_idx=0))
    assert torch.equal(decoded[0], batch[0])


def test_foreign_transforms_between_break_the_fusion_not_the_result():
    def halve(x: TensorImage):
        return x * 0.5

    halve.order = 35
    pipe = Pipeline([Rotate(p=1, draw=20.0), halve, Brightness(p=1, draw=0.6)])
    images = TensorImage(smooth_images().float())
    found = pipe(images, split_idx=0)
    expected = Brightness(p=1, draw=0.6)(Rotate(p=1, draw=20.0)(images) * 0.5)
    torch.testing.assert_close(found, expected)
    assert len(pipe._forward_steps(0)) == 3


def test_transforms_act_on_the_training_subset_alone():
    images = torch.rand(2, 3, 8, 8)
    assert Rotate(p=1)(images, split_idx=1) is images
    assert torch.equal(Augment(Rotate(p=1))(images, split_idx=1), images)
    crop = RandomCropGPU(4)
    torch.testing.assert_close(crop(images, split_idx=1), images[..., 2:6, 2:6])
    resized = RandomResizedCropGPU(4, valid_scale=0.25)(images, split_idx=1)
    torch.testing.assert_close(resized, images[..., 2:6, 2:6])


# -- dtypes, layouts ------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("source", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_layouts(source, dtype, channels_last, kernels):
    images = smooth_images(3, 20, 24)
    images = (images * 255).to(source) if source == torch.uint8 else images.to(source)
    expected = Augment(*aug_transforms(), NORMALIZE, kernels=False, dtype=torch.float32)(
        images, seed=1
    )
    engine = Augment(
        *aug_transforms(), NORMALIZE, dtype=dtype, channels_last=channels_last, kernels=kernels
    )
    found = engine(images, seed=1)
    assert found.dtype == dtype
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert found.is_contiguous(memory_format=layout)
    tolerance = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)


def test_the_output_keeps_a_floating_point_dtype():
    images = torch.rand(2, 3, 8, 8)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert Augment(Rotate(p=1))(images.to(dtype)).dtype == dtype


def test_whole_numbers_are_scaled_once():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    for engine in (Augment(), Augment(IntToFloatTensor()), Augment(Flip(p=0.0))):
        torch.testing.assert_close(engine(images), images / 255, atol=1e-7, rtol=0)
    halved = Augment(IntToFloatTensor(div=510.0))(images)
    torch.testing.assert_close(halved, images / 510, atol=1e-7, rtol=0)


def test_empty_batches_and_strided_input():
    engine = Augment(*aug_transforms(size=6), NORMALIZE)
    assert engine(torch.rand(0, 3, 8, 9)).shape == (0, 3, 6, 6)
    wide = torch.rand(2, 3, 30, 40)
    view = wide[:, :, ::2, 1::3]
    for kernels in (False, True):
        engine = Augment(*aug_transforms(), kernels=kernels)
        torch.testing.assert_close(
            engine(view, seed=1), engine(view.contiguous(), seed=1), atol=2e-5, rtol=0
        )


# -- gradients ------------------------------------------------------------------------------------


def test_gradients_reach_the_images():
    images = smooth_images(2, 8, 9).clone().requires_grad_()
    keys = torch.arange(2)
    engine = Augment(Rotate(p=1, align_corners=False), Contrast(p=1), NORMALIZE)
    assert torch.autograd.gradcheck(lambda x: engine(x, keys=keys), images, atol=1e-3)


def test_gradients_reach_a_parameter_given_by_a_hook():
    images = smooth_images(2).float()
    angle = torch.tensor(5.0, requires_grad=True)
    Rotate(p=1, draw=lambda x: angle)(images).square().sum().backward()
    assert angle.grad is not None
    assert angle.grad.abs() > 0


# -- state, own transforms, presets ---------------------------------------------------------------


def test_transforms_are_described_and_rebuilt():
    images = smooth_images().float()
    for transform in [*aug_transforms(size=20), RandomErasing(sl=0.1), GaussianBlur(2.0)]:
        description = json.loads(json.dumps(describe(transform)))
        again = rebuild(description)
        assert type(again) is type(transform)
        assert torch.equal(again(images, seed=4), transform(images, seed=4))


def test_transforms_and_engines_pickle():
    images = smooth_images().float()
    for step in (Augment(*aug_transforms(), NORMALIZE), Rotate(p=1)):
        step(images)
        assert torch.equal(pickle.loads(pickle.dumps(step))(images, seed=1), step(images, seed=1))


def test_a_transform_of_ones_own():
    class Squeeze(SpatialAugmentation):
        draws = 1

        def matrix(self, drawn, frame):
            factor = drawn.value(drawn.between(0, 1.0, 1.5), neutral=1.0)
            return diagonal(factor, torch.ones_like(factor))

    images = smooth_images().float()
    engine = Augment(Squeeze(p=1.0), Rotate(p=1))
    result = engine(images, points=torch.full((4, 1, 2), 24.0), seed=0)
    assert engine.plan(images).samplings == 1
    assert not torch.equal(result.images, images)


def test_what_states_no_part_is_refused():
    with pytest.raises(TypeError, match="no Augmentation"):
        Augment(Flip(), lambda x: x)

    class Vague(Augmentation):
        def declare(self, drawn, frame):
            return [3]

    with pytest.raises(TypeError, match="no part that an engine knows"):
        Augment(Vague())(torch.rand(1, 3, 4, 4))


def test_aug_transforms_is_what_fastai_documents():
    names = [type(t).__name__ for t in aug_transforms()]
    assert names == ["Flip", "Warp", "Rotate", "Zoom", "Brightness", "Contrast"]
    assert [t.p for t in aug_transforms()] == [0.5, 0.75, 0.75, 0.75, 0.75, 0.75]
    strong = {type(t): t for t in aug_transforms(mult=2.0, flip_vert=True)}
    assert strong[Dihedral].p == 0.5
    assert strong[Rotate].max_deg == 20
    assert strong[Warp].magnitude == 0.4
    assert strong[Brightness].max_lighting == 0.4
    nothing = aug_transforms(do_flip=False, max_rotate=0, max_zoom=1, max_lighting=0, max_warp=0)
    assert nothing == []
    cropped = aug_transforms(size=8, min_scale=0.5, xtra_tfms=Zoom())
    assert [type(t) for t in cropped[:2]] == [Zoom, RandomResizedCropGPU]
    assert Augment(*cropped)(torch.rand(2, 3, 16, 16)).shape == (2, 3, 8, 8)
    assert Augment(*cropped).plan(torch.rand(2, 3, 16, 16)).samplings == 1
    with pytest.raises(ValueError, match="needs a size"):
        aug_transforms(min_scale=0.5)


def test_predictions_on_augmented_copies():
    images = smooth_images(3).float()
    engine = Augment(*aug_transforms(), NORMALIZE)

    def model(x):
        return x.mean((2, 3))

    copies = torch.stack([model(engine(images, seed=40 + i)) for i in range(4)]).mean(0)
    itself = model(engine(images, split_idx=1))
    found = predict_augmented(model, images, engine, seed=10)
    torch.testing.assert_close(found, 0.75 * copies + 0.25 * itself)
    both = predict_augmented(model, images, engine, beta=None, seed=10)
    torch.testing.assert_close(both, torch.stack([copies, itself]))
    most = predict_augmented(model, images, engine, use_max=True, n=1, seed=40)
    torch.testing.assert_close(most, torch.maximum(model(engine(images, seed=40)), itself))
    with pytest.raises(ValueError, match="at least one copy"):
        predict_augmented(model, images, engine, n=0)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), TypeError, "uint8 in .* got torch.int64"),
        (torch.zeros(3, 8, 8), ValueError, r"got shape \(3, 8, 8\)"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)], TypeError, "item_tfms=Resize"),
    ],
)
def test_images_that_are_none(images, error, message):
    with pytest.raises(error, match=message):
        Augment(Flip())(images)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"outside": "hide"}, ValueError, "outside='hide'"),
        ({"dtype": torch.int32}, ValueError, "floating point"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Augment(Flip(), **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotate(mode="cubic"), "mode='cubic' is not one of"),
        (lambda: Rotate(pad_mode="mirror"), "pad_mode='mirror'"),
        (lambda: Rotate(size=(1, 2, 3)), "one positive int"),
        (lambda: Rotate(p=-1), "no probability"),
        (lambda: Zoom(min_zoom=0), "min_zoom=0"),
        (lambda: Warp(magnitude=0.6), "fold over"),
        (lambda: RandomCropGPU(0), "size=0"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_keys_that_do_not_fit_are_refused():
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"int64 of shape \(2,\)"):
        Augment(Flip())(images, keys=torch.arange(3))
    with pytest.raises(ValueError, match="not both"):
        Augment(Flip())(images, keys=torch.arange(2), seed=mix(1))


def test_normalize_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 means for images of 1 channels"):
        Augment(NORMALIZE)(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="no statistics"):
        Augment(Normalize())(torch.rand(2, 3, 8, 8))


def test_one_sampling_keeps_the_detail_that_several_in_a_row_lose(tmp_path):
    # Figure 11 of the paper, measured on a chart and drawn.
    folder = Path(__file__).parents[1] / "benchmarks"
    script = runpy.run_path(str(folder / "draw_interpolation.py"))
    images = script["compared"]()
    measured = script["errors"](images)
    once, in_a_row = measured["one sampling"], measured["four in a row"]
    assert once[0] < 0.6 * in_a_row[0]
    assert once[1] > 0.95 > 0.9 > in_a_row[1]
    script["draw"](tmp_path / "interpolation.png", images)
    assert (tmp_path / "interpolation.png").stat().st_size > 10_000
