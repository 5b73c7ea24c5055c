"""Ways to train: `fit` and the schedules built on it, freezing, and learning-rate search."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torte.learner.callback_set import Callbacks, as_callbacks
from torte.learner.callbacks.scheduling import ParamScheduler
from torte.learner.looking import Looking
from torte.learner.optimizers import bn_bias_params
from torte.learner.schedules import SchedCos, Schedule, combine_scheds, combined_cos
from torte.optim import OptimWrapper

__all__ = ["TrainingPolicies"]


class TrainingPolicies(Looking):
    """The part of the Learner that users train with.

    Learning rates may be a number for all parameter groups, `slice(first, last)` for even multiples
    from the first group to the last, `slice(last)` for a tenth of it in all groups but the last, or
    a list with one for each group.
    """

    lr: Any
    wd: float | None
    moms: Sequence[float]
    train_bn: bool

    def create_opt(self) -> None:
        """Make the optimizer; the Learner fills this in."""
        raise NotImplementedError

    def _made_opt(self, anew: bool = False) -> Any:
        """The optimizer, made if there is none or it is to be another."""
        if anew or self.opt is None:
            self.create_opt()
        return self.opt

    def fit(
        self,
        n_epoch: int,
        lr: Any = None,
        wd: float | None = None,
        cbs: Callbacks = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        resume: "bool | str | Path" = False,
    ) -> None:
        """Train.

        Args:
            n_epoch: How many epochs, those before `start_epoch` included.
            lr: Learning rate; the learner's own by default.
            wd: Weight decay; the learner's own by default, else the optimizer's.
            cbs: Callbacks for this fit alone.
            reset_opt: Whether to make the optimizer anew.
            start_epoch: Which epoch to begin with; schedules go on as if those before were done.
            resume: Whether to go on from the newest checkpoint that a `CheckpointCallback` wrote in
                this fit, if there is one; or the path of a checkpoint.

        Raises:
            CheckpointError: If there are checkpoints, but all are damaged.
            FileFormatError: If the checkpoint is of another model. Nothing has changed then.
        """
        with self.added_cbs(cbs):
            opt = self._made_opt(reset_opt)
            wd = self.wd if wd is None else wd
            if wd is not None:
                opt.set_hypers(wd=wd)
            opt.set_hypers(lr=self.lr if lr is None else lr)
            self._run_fit(n_epoch, start_epoch, resume)

    def _fit_scheduled(
        self, n_epoch: int, scheds: dict[str, Schedule], cbs: Callbacks, **fit_arguments: Any
    ) -> None:
        scheduler = ParamScheduler(scheds)
        # Not `param_scheduler`, so that a user's own scheduler of other hypers may stand beside it.
        scheduler.name = "fit_schedule"
        self.fit(n_epoch, cbs=[scheduler, *as_callbacks(cbs)], **fit_arguments)

    def _rates(self, lr: Any, reset_opt: bool) -> Any:
        """The learning rate as a number, or as an array when the groups' rates differ."""
        opt = self._made_opt(reset_opt)
        opt.set_hypers(lr=self.lr if lr is None else lr)
        rates = [group["lr"] for group in opt.param_groups]
        return np.array(rates) if len(set(rates)) > 1 else float(rates[0])

    def fit_one_cycle(
        self,
        n_epoch: int,
        lr_max: Any = None,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: float | None = None,
        moms: Sequence[float] | None = None,
        cbs: Callbacks = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        resume: "bool | str | Path" = False,
    ) -> None:
        """Train with the 1cycle policy.

        The learning rate goes up from `lr_max/div` to `lr_max` on a cosine during the first
        `pct_start` of training, then down to `lr_max/div_final`; the momentum goes the other way
        through `moms`. Smith, *Super-convergence*, 2018 (arXiv:1708.07120).

        Args:
            n_epoch: How many epochs.
            lr_max: The highest learning rate; the learner's own by default.
            div: By what it is divided at the start.
            div_final: By what it is divided at the end.
            pct_start: Which part of training the rise takes.
            wd: Weight decay.
            moms: Momentum at the start, at the peak and at the end; the learner's by default,
                if the optimizer has any.
            cbs: Callbacks for this fit alone.
            reset_opt: Whether to make the optimizer anew.
            start_epoch: Which epoch to begin with.
            resume: See `fit`.
        """
        top = self._rates(lr_max, reset_opt)
        scheds = {"lr": combined_cos(pct_start, top / div, top, top / div_final)}
        present = self.opt.hypers[0].get("mom")
        # An optimizer made without momentum, as by `SGD(params, lr)`, is given none unasked.
        if present or (present is not None and moms is not None):
            scheds["mom"] = combined_cos(pct_start, *(self.moms if moms is None else moms))
        self._fit_scheduled(n_epoch, scheds, cbs, wd=wd, start_epoch=start_epoch, resume=resume)

    def fit_flat_cos(
        self,
        n_epoch: int,
        lr: Any = None,
        div_final: float = 1e5,
        pct_start: float = 0.75,
        wd: float | None = None,
        cbs: Callbacks = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        resume: "bool | str | Path" = False,
    ) -> None:
        """Train at a flat learning rate, then on a cosine down to `lr/div_final`.

        Args:
            n_epoch: How many epochs.
            lr: The flat learning rate; the learner's own by default.
            div_final: By what it is divided at the end.
            pct_start: For which part of training it is flat.
            wd: Weight decay.
            cbs: Callbacks for this fit alone.
            reset_opt: Whether to make the optimizer anew.
            start_epoch: Which epoch to begin with.
            resume: See `fit`.
        """
        flat = self._rates(lr, reset_opt)
        scheds = {"lr": combined_cos(pct_start, flat, flat, flat / div_final)}
        self._fit_scheduled(n_epoch, scheds, cbs, wd=wd, start_epoch=start_epoch, resume=resume)

    def fit_sgdr(
        self,
        n_cycles: int,
        cycle_len: int,
        lr_max: Any = None,
        cycle_mult: int = 2,
        cbs: Callbacks = None,
        reset_opt: bool = False,
        wd: float | None = None,
        start_epoch: int = 0,
        resume: "bool | str | Path" = False,
    ) -> None:
        """Train with warm restarts: cosines from `lr_max` to 0, each longer than the one before.

        Loshchilov and Hutter, *SGDR*, 2016 (arXiv:1608.03983).

        Args:
            n_cycles: How many cycles.
            cycle_len: How many epochs the first one takes.
            lr_max: The learning rate at the start of each; the learner's own by default.
            cycle_mult: How many times longer each is than the one before.
            cbs: Callbacks for this fit alone.
            reset_opt: Whether to make the optimizer anew.
            wd: Weight decay.
            start_epoch: Which epoch to begin with.
            resume: See `fit`.
        """
        top = self._rates(lr_max, reset_opt)
        lengths = [cycle_len * cycle_mult**cycle for cycle in range(n_cycles)]
        n_epoch = sum(lengths)
        cycles = [SchedCos(top, top * 0.0) for _ in lengths]
        scheds = {"lr": combine_scheds([length / n_epoch for length in lengths], cycles)}
        self._fit_scheduled(n_epoch, scheds, cbs, wd=wd, start_epoch=start_epoch, resume=resume)

    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        lr_mult: float = 100,
        pct_start: float = 0.3,
        div: float = 5.0,
        **kwargs: Any,
    ) -> None:
        """Train the last group alone for a while, then everything at smaller learning rates.

        Args:
            epochs: How many epochs to train everything.
            base_lr: The learning rate of the first part; the second has half of it in the last
                group and `lr_mult` times less in the first.
            freeze_epochs: How many epochs of the first part.
            lr_mult: See `base_lr`.
            pct_start: Which part of the second part the learning rate rises.
            div: By what it is divided at the start.
            **kwargs: More for `fit_one_cycle`, in both parts (`resume=True` goes on in the one
                that was interrupted).
        """
        if not isinstance(kwargs.get("resume", False), bool):
            raise ValueError(
                "fine_tune finds by itself in which of its parts to go on: give resume=True, or "
                "the path of a checkpoint to fit_one_cycle"
            )
        self.freeze()
        self.fit_one_cycle(freeze_epochs, slice(base_lr), pct_start=0.99, **kwargs)
        base_lr /= 2
        self.unfreeze()
        rates = slice(base_lr / lr_mult, base_lr)
        self.fit_one_cycle(epochs, rates, pct_start=pct_start, div=div, **kwargs)

    # -- freezing --------------------------------------------------------------------------------

    def freeze_to(self, n: int) -> None:
        """Freeze the parameter groups before the `n`-th; batch-norm layers go on training.

        The optimizer forgets its state, as the gradients it saw are no longer the ones to come.
        """
        opt = self._made_opt()
        opt.freeze_to(n)
        if self.train_bn and isinstance(opt, OptimWrapper):
            # torte's own optimizers know by a flag which parameters train in any case.
            for parameter in bn_bias_params(self.model, with_bias=False):
                parameter.requires_grad_(True)
        opt.clear_state()

    def freeze(self) -> None:
        """Freeze all parameter groups but the last."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Let all parameter groups train."""
        self.freeze_to(0)
