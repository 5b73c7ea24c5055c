"""Type dispatch, reversible transforms and pipelines on the standard library alone."""

from torte.dispatch.collection import L
from torte.dispatch.delegation import GetAttr, delegates, funcs_kwargs, method
from torte.dispatch.describing import describe, undescribable
from torte.dispatch.dispatcher import TypeDispatch, typedispatch
from torte.dispatch.errors import (
    AmbiguityError,
    AnnotationError,
    DelegationError,
    DispatchError,
    NoMatchError,
    StateError,
    UndescribableError,
    UnknownNameError,
    UnresolvedNameError,
)
from torte.dispatch.helpers import (
    camel2snake,
    first,
    ifnone,
    is_iter,
    is_listy,
    listify,
    noop,
    range_of,
    store_attr,
)
from torte.dispatch.patching import patch, patch_to
from torte.dispatch.pipeline import Pipeline, compose_tfms
from torte.dispatch.rebuilding import rebuild
from torte.dispatch.registry import registered_name, serializable
from torte.dispatch.semantic import cast, retain_type, retain_types
from torte.dispatch.transform import (
    DisplayedTransform,
    InplaceTransform,
    ItemTransform,
    Transform,
    mk_transform,
)

__all__ = [
    "AmbiguityError",
    "AnnotationError",
    "DelegationError",
    "DispatchError",
    "DisplayedTransform",
    "GetAttr",
    "InplaceTransform",
    "ItemTransform",
    "L",
    "NoMatchError",
    "Pipeline",
    "StateError",
    "Transform",
    "TypeDispatch",
    "UndescribableError",
    "UnknownNameError",
    "UnresolvedNameError",
    "camel2snake",
    "cast",
    "compose_tfms",
    "delegates",
    "describe",
    "first",
    "funcs_kwargs",
    "ifnone",
    "is_iter",
    "is_listy",
    "listify",
    "method",
    "mk_transform",
    "noop",
    "patch",
    "patch_to",
    "range_of",
    "rebuild",
    "registered_name",
    "retain_type",
    "retain_types",
    "serializable",
    "store_attr",
    "typedispatch",
    "undescribable",
]
