"""The callbacks that make a GAN of the training loop: whose turn it is, and when turns change."""

import importlib
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torte.data.tfmd_loader import TfmdDL
from torte.learner.callback import Callback
from torte.learner.callbacks.displays import in_notebook
from torte.learner.callbacks.progress import ProgressCallback
from torte.learner.callbacks.scheduling import ParamScheduler
from torte.learner.callbacks.training_mode import TrainEvalCallback
from torte.learner.metrics import AvgSmoothLoss
from torte.learner.persistence import unwrapped
from torte.learner.recorder import Recorder
from torte.vision.gan.networks import GANModule

__all__ = [
    "AdaptiveGANSwitcher",
    "FixedGANSwitcher",
    "GANDiscriminativeLR",
    "GANTrainer",
    "set_freeze_model",
]


def set_freeze_model(m: nn.Module, rg: bool) -> None:
    """Let all of a module's parameters require gradients, or none of them."""
    m.requires_grad_(rg)


class GANTrainer(Callback):
    """Gives each training batch to the network whose turn it is; the other one is frozen.

    The batch is (noise, real images). On the critic's turn the two change places: the model is the
    critic, its inputs are the images, and the loss gets the noise. Predictions, validation and
    results always come from the generator, and after a fit `learn.model` is the generator.
    A switcher says when turns change; without one they never do.

    Args:
        switch_eval: Whether the network that is not trained is in evaluation mode meanwhile.
        clip: Largest absolute weight of the critic (WGAN); None for no limit.
        beta: Weight of the past in the smoothed `gen_loss` and `crit_loss`.
        gen_first: Whether a fit begins with the generator.
        show_img: Whether to keep a generated image of each epoch (in `imgs`, with `titles`) and to
            show them, in a notebook.
    """

    run_after = TrainEvalCallback
    trains_in_parts = True
    """Which parameters have gradients changes from batch to batch: data-parallel training asks."""

    def __init__(
        self,
        switch_eval: bool = False,
        clip: float | None = None,
        beta: float = 0.98,
        gen_first: bool = False,
        show_img: bool = True,
    ) -> None:
        super().__init__()
        self.switch_eval, self.clip, self.gen_first = switch_eval, clip, gen_first
        self.show_img = show_img
        self.gen_mode = gen_first
        self.gen_loss, self.crit_loss = AvgSmoothLoss(beta), AvgSmoothLoss(beta)
        self.imgs: list[Any] = []
        self.titles: list[str] = []
        self._sample: tuple[Tensor, Tensor] | None = None
        self._trained: list[nn.Parameter] = []
        self._handle: Any = None

    @property
    def gan(self) -> GANModule:
        """Both networks."""
        return unwrapped(self.learn.model)  # pyright: ignore[reportReturnType]: a GANLearner's

    def before_fit(self) -> None:
        """Begin with the network that is to be first; a fit that goes on keeps its turn.

        Raises:
            ValueError: If the processes that train together each hold a part of the model.
        """
        learn = self.learn
        if not learn.fitting:
            return
        if not learn.world.holds_all:
            raise ValueError(
                "the losses of a GAN call its networks, so every process must hold both of them: "
                'learn.distributed("ddp")'
            )
        if learn.start_epoch == 0:
            self.gen_mode = self.gen_first
            self.gen_loss.reset()
            self.crit_loss.reset()
            self.imgs, self.titles = [], []
        self._handle = None
        self._trained = [p for p in self.gan.parameters() if p.requires_grad]

    def state(self) -> dict[str, Any]:
        """Whose turn it is, what is trained in turns, the smoothed losses, the images so far."""
        trained = set(self._trained)
        return {
            "gen_mode": self.gen_mode,
            "trained": [name for name, p in self.gan.named_parameters() if p in trained],
            "losses": [loss.state() for loss in (self.gen_loss, self.crit_loss)],
            "sample": self._sample,
            "images": [image.as_subclass(Tensor) for image in self.imgs],
            "titles": self.titles,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with whose turn it was."""
        self.gen_mode = state["gen_mode"]
        trained = set(state["trained"])
        self._trained = [p for name, p in self.gan.named_parameters() if name in trained]
        for loss, saved in zip((self.gen_loss, self.crit_loss), state["losses"], strict=True):
            loss.merge([saved])
        sample = state["sample"]
        self._sample = None if sample is None else (sample[0], sample[1])
        self.imgs, self.titles = list(state["images"]), list(state["titles"])
        if self.learn.fitting and self.learn.training:
            self._take_turn()

    def before_train(self) -> None:
        """Go on with whose turn it is; validation was the generator's."""
        self._take_turn()

    def after_train(self) -> None:
        """Between epochs nothing is frozen."""
        self._unfreeze()

    def before_validate(self) -> None:
        """What is looked at comes from the generator."""
        self.gan.switch(True)

    def switch(self, gen_mode: bool | None = None) -> None:
        """Give the turn to the generator (True), to the critic (False) or to the other (None)."""
        self.gen_mode = (not self.gen_mode) if gen_mode is None else gen_mode
        if self.learn.fitting:
            self._take_turn()
        else:
            self.gan.switch(self.gen_mode)

    def _take_turn(self) -> None:
        gan = self.gan
        gan.switch(self.gen_mode)
        active = gan.generator if self.gen_mode else gan.critic
        assert active is not None
        mine = set(active.parameters())
        for parameter in self._trained:
            parameter.requires_grad_(parameter in mine)
        if self.switch_eval:
            gan.eval()
            active.train()

    def before_batch(self) -> None:
        """Limit the critic's weights, and let it have images as its inputs."""
        learn: Any = self.learn
        if not learn.training:
            return
        if self.clip is not None:
            critic = self.gan.critic
            assert critic is not None
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-self.clip, self.clip)
        if not self.gen_mode:
            learn.xb, learn.yb = learn.yb, learn.xb

    def after_batch(self) -> None:
        """Note the loss, and the last image that was generated."""
        learn = self.learn
        if not learn.training or not learn.predicted:
            return
        (self.gen_loss if self.gen_mode else self.crit_loss).accumulate(learn)
        if self.gen_mode and self.show_img:
            self._sample = learn.xb[0][:1], learn.pred[:1].detach()

    def after_epoch(self) -> None:
        """Keep an image of this epoch, and show those so far."""
        if not self.learn.fitting or self._sample is None:
            return
        loader = self.learn.dls.train
        image = self._sample[1][0].cpu()
        if isinstance(loader, TfmdDL):
            image = loader.decode_batch(self._sample)[0][1]
        self.imgs.append(image)
        self.titles.append(f"epoch {self.learn.epoch}")
        self._sample = None
        if in_notebook():
            self._show()

    def _show(self) -> None:
        import matplotlib.pyplot as plt

        from torte.data.display import get_grid, show_image

        ipython = importlib.import_module("IPython.display")
        axes = get_grid(len(self.imgs), ncols=min(len(self.imgs), 8), imsize=1.5)
        for image, title, ctx in zip(self.imgs, self.titles, axes, strict=False):
            show_image(image, ctx=ctx, title=title)
        if self._handle is None:
            self._handle = ipython.display(axes[0].figure, display_id=True)
        else:
            self._handle.update(axes[0].figure)
        plt.close(axes[0].figure)

    def clean_up(self) -> None:
        """Unfreeze what was trained, and be the generator, however a fit ended."""
        self._unfreeze()
        if self._trained:
            self.gan.switch(True)
        self._trained, self._sample = [], None

    def _unfreeze(self) -> None:
        for parameter in self._trained:
            parameter.requires_grad_(True)


class _Switcher(Callback):
    """Changes turns after the batches whose turn is over."""

    order = 55
    run_after = (GANTrainer, Recorder)
    run_valid = False

    def after_batch(self) -> None:
        """Change turns if it is time."""
        learn: Any = self.learn
        if learn.predicted and self._turn_is_over(learn.gan_trainer.gen_mode):
            learn.gan_trainer.switch()

    def _turn_is_over(self, gen_mode: bool) -> bool:
        raise NotImplementedError


class FixedGANSwitcher(_Switcher):
    """Turns of fixed length: `n_crit` batches for the critic, then `n_gen` for the generator.

    Turns go on across epochs, so that short epochs do not cut them.

    Args:
        n_crit: How many; or a function of the number of training batches done.
        n_gen: Likewise.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ("done",)

    def __init__(
        self, n_crit: int | Callable[[int], int] = 1, n_gen: int | Callable[[int], int] = 1
    ) -> None:
        super().__init__()
        self.n_crit, self.n_gen = n_crit, n_gen
        self.done = 0

    def before_fit(self) -> None:
        """Begin a first turn; a fit that goes on keeps its own."""
        if self.learn.fitting and self.learn.start_epoch == 0:
            self.done = 0

    def _turn_is_over(self, gen_mode: bool) -> bool:
        length = self.n_gen if gen_mode else self.n_crit
        self.done += 1
        if self.done < (length(self.learn.train_iter) if callable(length) else length):
            return False
        self.done = 0
        return True


class AdaptiveGANSwitcher(_Switcher):
    """Turns that end when the batch's loss is below a threshold; without one, after each batch.

    Args:
        gen_thresh: The generator's.
        critic_thresh: The critic's.
    """

    def __init__(self, gen_thresh: float | None = None, critic_thresh: float | None = None) -> None:
        super().__init__()
        self.gen_thresh, self.critic_thresh = gen_thresh, critic_thresh

    def _turn_is_over(self, gen_mode: bool) -> bool:
        thresh = self.gen_thresh if gen_mode else self.critic_thresh
        loss = self.learn.loss
        return thresh is None or (loss is not None and float(loss) < thresh)


class GANDiscriminativeLR(Callback):
    """Multiplies the learning rate on the critic's turns.

    Args:
        mult_lr: By how much.
    """

    order = 61
    run_after = (GANTrainer, ParamScheduler)
    run_before = ProgressCallback
    run_valid = False

    def __init__(self, mult_lr: float = 5.0) -> None:
        super().__init__()
        self.mult_lr = mult_lr
        self._lrs: list[float] | None = None

    def before_batch(self) -> None:
        """Raise it for the critic."""
        learn: Any = self.learn
        if learn.gan_trainer.gen_mode:
            return
        self._lrs = [group["lr"] for group in learn.opt.param_groups]
        for group in learn.opt.param_groups:
            group["lr"] = group["lr"] * self.mult_lr

    def after_batch(self) -> None:
        """Put it back."""
        if self._lrs is not None:
            for group, lr in zip(self.learn.opt.param_groups, self._lrs, strict=True):
                group["lr"] = lr
            self._lrs = None

    def clean_up(self) -> None:
        """Put it back after an exception too."""
        self.after_batch()
