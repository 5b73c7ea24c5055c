"""Which loss goes with which semantic type of target."""

from typing import Any

from torte.data.tensors import (
    TensorCategory,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    TensorRegression,
)
from torte.dispatch import TypeDispatch
from torte.learner.losses.flattened import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    MSELossFlat,
)

__all__ = ["default_loss"]


def _no_default(target: Any) -> Any:
    return None


default_loss: TypeDispatch[[Any], Any] = TypeDispatch(_no_default)
"""Which loss goes with targets of a semantic type: `default_loss(target)` makes one, or `None`.

Register more with `@default_loss.register` on a function of one annotated parameter.
"""


@default_loss.register
def _category_loss(target: TensorCategory) -> CrossEntropyLossFlat:
    return CrossEntropyLossFlat()


@default_loss.register
def _multi_category_loss(target: TensorMultiCategory) -> BCEWithLogitsLossFlat:
    return BCEWithLogitsLossFlat()


@default_loss.register
def _regression_loss(target: TensorRegression | TensorPoint) -> MSELossFlat:
    return MSELossFlat()


@default_loss.register
def _mask_loss(target: TensorMask) -> CrossEntropyLossFlat:
    return CrossEntropyLossFlat(axis=1)
