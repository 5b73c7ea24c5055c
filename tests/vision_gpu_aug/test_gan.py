"""GANs: whose turn it is, beside loops written out in PyTorch, and what is shown and shipped."""

import copy
from functools import partial

import pytest
import torch
from support.learners import everything
from torch import nn
from torch.nn import functional as F
from torte.vision.all import (
    Adam,
    AdaptiveGANSwitcher,
    AdaptiveLoss,
    AddChannels,
    Callback,
    DataBlock,
    DenseResBlock,
    FixedGANSwitcher,
    GANDiscriminativeLR,
    GANLearner,
    GANLoss,
    GANModule,
    ImageBlock,
    IndexSplitter,
    InvisibleTensor,
    Learner,
    Normalize,
    PILImageBW,
    TransformBlock,
    accuracy_thresh_expand,
    basic_critic,
    basic_generator,
    gan_critic,
    gan_loss_from_func,
    generate_noise,
    get_image_files,
    load_learner,
)


def batches(count=6, size=4, side=8):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 5, generator=generator),
            torch.rand(size, 1, side, side, generator=generator) * 2 - 1,
        )
        for _ in range(count)
    ]


def networks(norm=False, seed=0):
    torch.manual_seed(seed)
    settings = {} if norm else {"norm_type": None}
    return (
        basic_generator(8, 1, in_sz=5, n_features=4, **settings),
        basic_critic(8, 1, n_features=4, **settings),
    )


class TurnLog(Callback):
    """Writes down whose turn each training batch is, and that the other network stays as it is."""

    order = 54

    def __init__(self):
        super().__init__()
        self.turns = []

    def before_batch(self):
        if self.learn.training:
            self.before = copy.deepcopy(self.learn.model.state_dict())

    def after_batch(self):
        if not self.learn.training:
            return
        gan = self.learn.model
        self.turns.append("G" if gan.gen_mode else "C")
        moved = {
            name.partition(".")[0]
            for name, value in gan.named_parameters()
            if not torch.equal(value, self.before[name])
        }
        assert moved == {"generator" if gan.gen_mode else "critic"}


def wgan(dls=None, cbs=(), metrics=None, **kwargs):
    generator, critic = networks()
    data = (batches(), batches(2)) if dls is None else dls
    learn = GANLearner.wgan(data, generator, critic, cbs=list(cbs), metrics=metrics, **kwargs)
    learn.logger = lambda row: None
    learn.remove_cb(learn.progress)
    return learn


# -- networks ----------------------------------------------------------------------------------


def test_networks_lie_in_channels_last_and_give_what_the_other_layout_gives():
    generator, critic = networks(norm=True)
    wide = [p for p in (*generator.parameters(), *critic.parameters()) if p.ndim == 4]
    assert wide
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
    generator, critic = generator.double(), critic.double()
    plain = [
        copy.deepcopy(each).to(memory_format=torch.contiguous_format)
        for each in (generator, critic)
    ]
    assert any(
        not p.is_contiguous(memory_format=torch.channels_last)
        for p in plain[0].parameters()
        if p.ndim == 4
    )
    noise = batches(1)[0][0].double()
    torch.testing.assert_close(
        critic(generator(noise)), plain[1](plain[0](noise)), rtol=1e-9, atol=1e-9
    )


def test_the_module_is_one_network_or_the_other():
    gan = GANModule(critic=basic_critic(64, 3), generator=basic_generator(64, 3))
    real = torch.randn(2, 3, 64, 64)
    assert gan(real).shape == (2, 1)
    gan.switch()
    fake = gan(torch.randn(2, 100))
    assert fake.shape == real.shape
    assert fake.abs().max() <= 1
    gan.switch(False)
    assert gan(fake).shape == (2, 1)
    with pytest.raises(ValueError, match="mode of its generator, but it has none"):
        GANModule(critic=nn.Identity(), gen_mode=True)(real)


@pytest.mark.parametrize("size", [8, 12, 28, 32, 48, 96])
def test_networks_of_any_size_that_halves_to_a_few_pixels(size):
    noise = torch.randn(2, 10)
    images = basic_generator(size, 2, in_sz=10, n_features=4, n_extra_layers=1)(noise)
    assert images.shape == (2, 2, size, size)
    critic = basic_critic(size, 2, n_features=4, n_extra_layers=1)
    assert critic(images).shape == (2, 1)


@pytest.mark.parametrize("size", [4, 9, 66])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="in_size"):
        basic_critic(size, 1)
    with pytest.raises(ValueError, match="out_size"):
        basic_generator(size, 1)


def test_sizes_of_the_basic_networks_are_those_of_dcgan():
    def weights(model):
        return [tuple(p.shape) for p in model.parameters() if p.ndim == 4]

    assert weights(basic_critic(64, 3)) == [
        (64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 4, 4),
    ]  # fmt: skip
    assert weights(basic_generator(64, 3)) == [
        (100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4),
    ]  # fmt: skip


def test_the_strong_critic_judges_patches():
    critic = gan_critic(nf=8).eval()
    assert critic(torch.rand(2, 3, 64, 64)).shape == (2, 1)
    assert critic(torch.rand(1, 3, 96, 96)).shape == (1, 9)
    assert AddChannels(2)(torch.rand(3, 4)).shape == (3, 4, 1, 1)
    x = torch.rand(2, 6, 5, 5)
    out = DenseResBlock(6)(x)
    assert out.shape == (2, 12, 5, 5)
    assert any(torch.equal(part, x) for part in out.split(6, dim=1))


# -- losses ------------------------------------------------------------------------------------


def test_losses_of_real_and_generated_against_pytorchs_own():
    real, fake = torch.randn(4, 1), torch.randn(4, 1)
    output, target = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    crit = AdaptiveLoss(nn.BCEWithLogitsLoss())
    gen_loss, crit_loss = gan_loss_from_func(F.l1_loss, crit, (1.0, 50.0))
    wanted = -F.logsigmoid(fake).mean() + 50 * (output - target).abs().mean()
    torch.testing.assert_close(gen_loss(fake, output, target), wanted)
    wanted = (-F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()) / 2
    torch.testing.assert_close(crit_loss(real, fake), wanted)


def test_targets_are_expanded_to_a_critics_patches():
    scores, targets = torch.tensor([[2.0, -1.0, 3.0], [-1.0, -2.0, 4.0]]), torch.tensor([1, 0])
    assert float(accuracy_thresh_expand(scores, targets)) == pytest.approx(4 / 6)
    loss = AdaptiveLoss(nn.BCEWithLogitsLoss())(scores, targets)
    every = F.binary_cross_entropy_with_logits(scores, torch.tensor([[1.0] * 3, [0.0] * 3]))
    torch.testing.assert_close(loss, every)


def test_the_loss_follows_the_model():
    generator, critic = networks()
    gan = GANModule(generator, critic)
    loss = GANLoss(
        lambda fake, out, target: fake.sum(), lambda real, fake: (real - fake).sum(), gan
    )
    noise, real = batches(1)[0]
    torch.testing.assert_close(
        loss(critic(real), noise), (critic(real) - critic(generator(noise))).sum()
    )
    gan.switch(True)
    torch.testing.assert_close(loss(generator(noise), real), critic(generator(noise)).sum())


# -- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [False, True])
def test_a_wgan_trains_as_the_paper_writes_it_out(norm):
    data, opt = batches(12), partial(torch.optim.RMSprop, alpha=0.9)
    generator, critic = networks(norm)
    learn = GANLearner.wgan((data, []), generator, critic, opt_func=opt, default_cbs=True)
    learn.logger = print
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2, wd=0)

    generator_, critic_ = networks(norm)
    steppers = {n: opt(n.parameters(), lr=1e-2) for n in (generator_, critic_)}
    for at, (noise, real) in enumerate(data):
        with torch.no_grad():
            for p in critic_.parameters():
                p.clamp_(-0.01, 0.01)
        if at % 6 == 5:
            active, loss = generator_, critic_(generator_(noise)).mean()
        else:
            real_pred = critic_(real)
            active, loss = critic_, real_pred.mean() - critic_(generator_(noise).detach()).mean()
        for network in steppers:
            network.zero_grad()
        loss.backward()
        steppers[active].step()
    for mine, theirs in ((generator, generator_), (critic, critic_)):
        torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-6)


def test_turns_of_fixed_length_go_on_across_epochs():
    log = TurnLog()
    learn = wgan(cbs=[log])
    learn.fit(2, 1e-3)
    assert "".join(log.turns) == "CCCCCGCCCCCG"
    log = TurnLog()
    learn = wgan(batches(4), cbs=[log], switcher=FixedGANSwitcher(2, lambda done: 1))
    learn.fit(3, 1e-3)
    assert "".join(log.turns) == "CCGCCGCCGCCG"


def test_several_fits_each_begin_anew_and_leave_nothing_frozen():
    log = TurnLog()
    learn = wgan(cbs=[log], gen_first=True, switcher=FixedGANSwitcher(2, 1))
    for _ in range(2):
        log.turns.clear()
        learn.fit(1, 1e-3)
        assert "".join(log.turns) == "GCCGCC"
        assert all(p.requires_grad for p in learn.model.parameters())
        assert learn.model.gen_mode


def test_a_fit_that_goes_on_keeps_its_turn():
    whole = wgan(batches(4))
    log = TurnLog()
    whole.add_cb(log)
    whole.fit(3, 1e-3)
    first = wgan(batches(4))
    first.fit(1, 1e-3)
    states = {cb.name: cb.state() for cb in first.cbs if cb.state()}
    assert {"gan_trainer", "fixed_gan_switcher"} <= states.keys()
    second, rest = wgan(batches(4)), TurnLog()
    second.add_cb(rest)
    for name, state in states.items():
        getattr(second, name).load_state(state)
    second.fit(3, 1e-3, start_epoch=1)
    assert rest.turns == log.turns[4:]


def test_adaptive_turns_end_below_a_threshold():
    learn = wgan(switcher=partial(AdaptiveGANSwitcher, critic_thresh=0.65))
    switcher = learn.adaptive_gan_switcher
    learn.loss = torch.tensor(0.7)
    assert not switcher._turn_is_over(False)
    assert switcher._turn_is_over(True)
    learn.loss = torch.tensor(0.6)
    assert switcher._turn_is_over(False)
    log = TurnLog()
    learn = wgan(cbs=[log], switcher=AdaptiveGANSwitcher(critic_thresh=-100.0))
    learn.fit(1, 1e-3)
    assert set(log.turns) == {"C"}


def test_the_critics_learning_rate_is_multiplied_on_its_turns_alone():
    class Rates(Callback):
        def __init__(self):
            super().__init__()
            self.seen = []

        def before_step(self):
            self.seen.append(self.learn.opt.param_groups[0]["lr"])

    rates = Rates()
    learn = wgan(cbs=[GANDiscriminativeLR(mult_lr=5.0), rates], switcher=FixedGANSwitcher(1, 1))
    learn.fit_one_cycle(1, 1e-2)
    plain = learn.recorder.hps["lr"]
    assert rates.seen == pytest.approx(
        [5 * lr if at % 2 == 0 else lr for at, lr in enumerate(plain)]
    )
    assert learn.recorder.lrs == rates.seen


@pytest.mark.parametrize("switch_eval", [False, True])
def test_the_network_that_waits_may_be_in_evaluation_mode(switch_eval):
    class Modes(Callback):
        def after_pred(self):
            if self.learn.training:
                gan = self.learn.model
                waiting = gan.critic if gan.gen_mode else gan.generator
                active = gan.generator if gan.gen_mode else gan.critic
                assert active.training
                assert waiting.training is not switch_eval

    wgan(cbs=[Modes()], switch_eval=switch_eval).fit(2, 1e-3)


def test_bfloat16():
    learn = wgan(default_cbs=True).to_bf16()
    before = copy.deepcopy(learn.model.state_dict())
    learn.fit(2, 1e-3)
    assert all(v.isfinite().all() for v in learn.model.state_dict().values())
    assert not torch.equal(before["generator.1.0.weight"], learn.model.generator[1][0].weight)
    assert learn.get_preds()[0].dtype == torch.float32


def test_the_table_has_the_losses_of_both():
    learn = wgan(batches(12))
    losses = []
    learn.add_cb(Callback(after_loss=lambda self: losses.append(float(self.loss))))
    learn.fit(1, 1e-3)
    row = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[0], strict=False))
    generators = [loss for at, loss in enumerate(losses) if at % 6 == 5]
    critics = [loss for at, loss in enumerate(losses) if at % 6 != 5]
    assert row["train_gen_loss"] == pytest.approx(sum(generators) / len(generators))
    assert row["train_crit_loss"] == pytest.approx(sum(critics) / len(critics))
    learn = wgan(metrics=F.l1_loss)
    learn.fit(1, 1e-3)
    names = learn.recorder.metric_names
    assert list(names[:4]) == ["epoch", "train_loss", "valid_loss", "l1_loss"]
    with torch.no_grad():
        wanted = [F.l1_loss(learn.model(noise), real) for noise, real in batches(2)]
    assert learn.recorder.values[0][2] == pytest.approx(float(sum(wanted) / 2), rel=1e-5)


def test_from_two_learners():
    images = [(real + 0.1, real) for _, real in batches(4)]
    torch.manual_seed(0)
    gen = Learner(images, nn.Conv2d(1, 1, 3, padding=1), loss_func=F.l1_loss)
    crit_data = [(real, torch.tensor([1.0, 0, 1, 0])) for _, real in batches(4)]
    crit = Learner(
        crit_data,
        basic_critic(8, 1, n_features=4),
        loss_func=AdaptiveLoss(nn.BCEWithLogitsLoss()),
        metrics=accuracy_thresh_expand,
    )
    for learn in (gen, crit):
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
    gan = GANLearner.from_learners(
        gen,
        crit,
        weights_gen=(1.0, 50.0),
        switcher=AdaptiveGANSwitcher(critic_thresh=10.0),
        show_img=False,
        opt_func=partial(Adam, mom=0.0),
        cbs=GANDiscriminativeLR(mult_lr=5.0),
    )
    with gan.no_bar(), gan.no_logging():
        gan.fit(2, 1e-3)
    assert gan.model.generator is gen.model
    assert gan.model.critic is crit.model
    assert gan.gan_trainer.imgs == []
    with pytest.raises(ValueError, match="has no loss function"):
        GANLearner.from_learners(Learner(images, nn.Identity()), crit)


def test_an_interrupted_fit_leaves_nothing_frozen():
    class Stop(Callback):
        def after_pred(self):
            if self.learn.train_iter == 3:
                raise KeyboardInterrupt

    learn = wgan(cbs=[Stop(), GANDiscriminativeLR()])
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, 1e-3)
    assert all(p.requires_grad for p in learn.model.parameters())
    assert {group["lr"] for group in learn.opt.param_groups} == {1e-3}


# -- looking, showing, shipping ----------------------------------------------------------------


def test_looking_asks_the_generator_and_changes_nothing():
    learn = wgan()
    learn.fit(1, 1e-3)
    learn.gan_trainer.switch(gen_mode=False)
    before = everything(learn)
    preds, targets = learn.get_preds()
    learn.validate()
    learn.lr_find(show_plot=False, num_it=8)
    after = everything(learn)
    assert learn.model.gen_mode is False
    torch.testing.assert_close(after["weights"], before["weights"])
    assert after["required"] == before["required"]
    assert after["modes"] == before["modes"]
    learn.model.eval()
    torch.testing.assert_close(preds[:4], learn.model.generator(batches(2)[0][0]))
    assert targets.shape == preds.shape


@pytest.fixture
def garments(fashion_files):
    block = DataBlock(
        blocks=(TransformBlock, ImageBlock(PILImageBW)),
        get_items=get_image_files,
        get_x=partial(generate_noise, size=6),
        splitter=IndexSplitter([]),
        batch_tfms=Normalize.from_stats([0.5], [0.5]),
    )
    return block.dataloaders(fashion_files, bs=8, seed=3, num_workers=0)


@pytest.fixture(scope="module")
def fashion_files(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("garments")
    for at in range(24):
        Image.effect_noise((8, 8), 20 + at).save(folder / f"{at}.png")
    return folder


def test_noise_depends_on_seed_epoch_and_place_alone(garments):
    noise, _ = garments.train.one_batch()
    assert isinstance(noise, InvisibleTensor)
    assert noise.shape == (8, 6)
    first = [b[0] for b in garments.train.new(num_workers=0)]
    again = [b[0] for b in garments.train.new(num_workers=2)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(row.tolist()) for batch in first for row in batch}) == 24
    rows = torch.stack([generate_noise(None, 200) for _ in range(50)])
    assert float(rows.mean()) == pytest.approx(0, abs=0.05)
    assert float(rows.std()) == pytest.approx(1, abs=0.05)


def test_show_predict_export(garments, tmp_path):
    import matplotlib.pyplot as plt

    generator = basic_generator(8, 1, in_sz=6, n_features=4)
    critic = basic_critic(8, 1, n_features=4)
    learn = GANLearner.wgan(garments, generator, critic, path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3, wd=0)
    # Three batches an epoch: the generator had its turn in the second alone.
    assert learn.gan_trainer.titles == ["epoch 1"]
    assert learn.gan_trainer.imgs[0].shape == (1, 8, 8)
    assert learn.gan_trainer.imgs[0].dtype == torch.uint8
    garments.show_batch(max_n=4)
    assert len(plt.gcf().axes) == 4
    learn.show_results(ds_idx=0, max_n=4)
    shown = plt.gcf().axes
    assert [ax.get_title() for ax in shown] == [""] * 4
    assert all(len(ax.images) == 1 for ax in shown)
    image, _, raw = learn.predict("whatever")
    wanted = (raw / 2 + 0.5) * 255
    torch.testing.assert_close(torch.as_tensor(image).float(), wanted, rtol=0, atol=1)
    loaded = load_learner(learn.export("garments.safetensors"))
    picture, *_ = loaded.predict("whatever")
    assert picture.shape == (1, 8, 8)
    noise = torch.randn(3, 6)
    torch.testing.assert_close(loaded.model(noise), learn.model.eval()(noise))
    plt.close("all")
