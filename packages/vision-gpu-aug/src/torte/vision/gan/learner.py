"""`GANLearner`: a Learner whose model is a generator and a critic."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from torch import nn

from torte.learner.callback import Callback
from torte.learner.callback_set import Callbacks, as_callbacks
from torte.learner.learner import Learner
from torte.learner.losses import MSELossFlat
from torte.learner.metrics import AvgLoss
from torte.learner.metrics.conversion import mk_metrics
from torte.learner.persistence import unwrapped
from torte.vision.gan.callbacks import FixedGANSwitcher, GANTrainer
from torte.vision.gan.losses import (
    GANLoss,
    gan_loss_from_func,
    wgan_critic_loss,
    wgan_generator_loss,
)
from torte.vision.gan.networks import GANModule

__all__ = ["GANLearner"]

Switcher = Callback | Callable[[], Callback]


class _TurnLoss(AvgLoss):
    """The average loss over the batches of one network's turns."""

    def __init__(self, gen_mode: bool) -> None:
        super().__init__()
        self.gen_mode = gen_mode

    def accumulate(self, learn: Any) -> None:
        """Add the batch, if it was this network's."""
        if unwrapped(learn.model).gen_mode is self.gen_mode:
            super().accumulate(learn)

    @property
    def default_name(self) -> str:
        """`gen_loss` or `crit_loss`."""
        return "gen_loss" if self.gen_mode else "crit_loss"


class GANLearner(Learner):
    """Trains a generator and a critic against each other.

    All that is peculiar to it are two callbacks, `GANTrainer` (`learn.gan_trainer`) and a switcher.
    The table of epochs shows `gen_loss` and `crit_loss` of the training batches; with `metrics` of
    your own, those of the generator's images on the validation set.

    Args:
        dls: Loaders of (noise or images, real images).
        generator: Makes images of the inputs.
        critic: From images to numbers.
        gen_loss_func: See `GANLoss`.
        crit_loss_func: See `GANLoss`.
        switcher: When turns change: a callback or what makes one; `FixedGANSwitcher()` by default.
        gen_first: See `GANTrainer`.
        switch_eval: See `GANTrainer`.
        show_img: See `GANTrainer`.
        clip: See `GANTrainer`.
        cbs: More callbacks.
        metrics: Metrics of generated and real images.
        **kwargs: For `Learner`.
    """

    def __init__(
        self,
        dls: Any,
        generator: nn.Module,
        critic: nn.Module,
        gen_loss_func: Callable[..., Any],
        crit_loss_func: Callable[..., Any],
        switcher: Switcher | None = None,
        gen_first: bool = False,
        switch_eval: bool = True,
        show_img: bool = True,
        clip: float | None = None,
        cbs: Callbacks = None,
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        gan = GANModule(generator, critic, gen_mode=gen_first)
        loss = kwargs.pop("loss_func", None) or GANLoss(gen_loss_func, crit_loss_func, gan)
        trainer = GANTrainer(switch_eval, clip, gen_first=gen_first, show_img=show_img)
        switcher = FixedGANSwitcher() if switcher is None else switcher
        own = [trainer, switcher if isinstance(switcher, Callback) else switcher()]
        super().__init__(
            dls,
            gan,
            loss_func=loss,
            cbs=[*own, *as_callbacks(cbs)],
            metrics=[*mk_metrics(metrics), _TurnLoss(True), _TurnLoss(False)],
            **kwargs,
        )
        recorder = self.__dict__.get("recorder")
        if recorder is not None:
            # A critic's numbers are nothing to measure images by.
            recorder.train_metrics, recorder.valid_metrics = not metrics, bool(metrics)

    @classmethod
    def from_learners(
        cls,
        gen_learn: Learner,
        crit_learn: Learner,
        switcher: Switcher | None = None,
        weights_gen: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a GAN of a learner that makes images and one that tells real from generated ones.

        Args:
            gen_learn: Its data, model and loss are the generator's.
            crit_learn: Its model and loss are the critic's.
            switcher: As for `GANLearner`.
            weights_gen: Of the critic's part and of `gen_learn`'s loss; see `gan_loss_from_func`.
            **kwargs: For `GANLearner`.
        """
        losses = gan_loss_from_func(_loss_of(gen_learn), _loss_of(crit_learn), weights_gen)
        return cls(
            gen_learn.dls, gen_learn.model, crit_learn.model, *losses, switcher=switcher, **kwargs
        )

    @classmethod
    def wgan(
        cls,
        dls: Any,
        generator: nn.Module,
        critic: nn.Module,
        switcher: Switcher | None = None,
        clip: float | None = 0.01,
        switch_eval: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Make a Wasserstein GAN (Arjovsky et al. 2017, arXiv:1701.07875).

        Args:
            dls: Loaders of (noise, real images).
            generator: Makes images of noise.
            critic: From images to one number each.
            switcher: As for `GANLearner`; by default five batches for the critic, one for the
                generator.
            clip: Largest absolute weight of the critic.
            switch_eval: As for `GANTrainer`.
            **kwargs: For `GANLearner`.
        """
        switcher = FixedGANSwitcher(n_crit=5, n_gen=1) if switcher is None else switcher
        return cls(
            dls,
            generator,
            critic,
            wgan_generator_loss,
            wgan_critic_loss,
            switcher=switcher,
            clip=clip,
            switch_eval=switch_eval,
            **kwargs,
        )

    def export(self, fname: str | Path = "export.safetensors") -> Path:
        """Write the generator with the data's transforms, for `load_learner(fname).predict`.

        Args:
            fname: The file, in `path`.

        Raises:
            ExportError: If a part of it cannot be described in a file.
        """
        generator: Any = unwrapped(self.model).generator
        shipped = Learner(self.dls, generator, loss_func=MSELossFlat(), path=self.path)
        return shipped.export(fname)


def _loss_of(learn: Learner) -> Callable[..., Any]:
    if learn.loss_func is None:
        raise ValueError(f"{learn!r} has no loss function, which a GAN needs of both learners")
    return learn.loss_func
