"""The exceptions of torte.dispatch.

    DispatchError
    ├── NoMatchError (TypeError, LookupError)   no implementation takes the given types
    ├── AmbiguityError (TypeError)              two implementations take them equally well
    ├── AnnotationError (TypeError)             an annotation that cannot be dispatched on
    │   └── UnresolvedNameError (NameError)     a string annotation whose name does not exist
    ├── StateError (ValueError)                 an object that cannot be described or rebuilt
    │   ├── UndescribableError                  what is not registered or not JSON-able, by name
    │   └── UnknownNameError (LookupError)      a description names what nobody registered
    └── DelegationError (TypeError)             delegates, funcs_kwargs or patch used wrongly

Every message says what was given, what exists and what to do.
"""

__all__ = [
    "AmbiguityError",
    "AnnotationError",
    "DelegationError",
    "DispatchError",
    "NoMatchError",
    "StateError",
    "UndescribableError",
    "UnknownNameError",
    "UnresolvedNameError",
]


class DispatchError(Exception):
    """Base of every error that torte.dispatch raises itself."""


class NoMatchError(DispatchError, TypeError, LookupError):
    """No implementation takes the given types; the message lists what exists, closest first."""


class AmbiguityError(DispatchError, TypeError):
    """Two implementations fit equally well; the message names both and where they stand."""


class AnnotationError(DispatchError, TypeError):
    """An annotation of the first two parameters that no class stands for."""


class UnresolvedNameError(AnnotationError, NameError):
    """A string annotation names something that does not exist, even at the first call."""


class StateError(DispatchError, ValueError):
    """An object cannot be described, or a description cannot be rebuilt."""


class UndescribableError(StateError):
    """Part of an object is not registered or not JSON-able; the message names each culprit."""


class UnknownNameError(StateError, LookupError):
    """A description names a class or function that was never registered."""


class DelegationError(DispatchError, TypeError):
    """`delegates`, `funcs_kwargs` or `patch` was given something that it cannot work with."""
