"""The operations that a program in a file may name; everything else is refused by name.

All of them compute new values from their arguments: none writes into an argument, reads or writes
files, draws random numbers, or takes an address. They are those of PyTorch's ATen library that
`torch.export` leaves in a functional graph, and arithmetic on sizes.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["UnknownOperatorError", "operator_named"]

_LIMIT = 2**63


class UnknownOperatorError(ValueError):
    """A program names an operation that programs may not use."""


_NAMES_OF_ATEN = """
abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
adaptive_max_pool2d adaptive_max_pool3d add addcdiv addcmul addmm addmv alias all amax amin any
arange argmax argmin argsort asin asinh atan atan2 atanh avg_pool1d avg_pool2d avg_pool3d baddbmm
bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_to bucketize cat ceil celu
channel_shuffle chunk clamp clamp_max clamp_min clone col2im concat constant_pad_nd contiguous
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution copysign cos
cosh cosine_similarity cross cummax cummin cumprod cumsum deg2rad diag_embed diagonal diff div dot
einsum elu embedding eq erf erfc exp exp2 expand expand_as expm1 flatten flip floor floor_divide
fmax fmin fmod frac full full_like gather ge gelu glu grid_sampler grid_sampler_2d grid_sampler_3d
group_norm gru gt hardshrink hardsigmoid hardswish hardtanh hypot im2col index index_add index_put
index_select instance_norm isfinite isinf isnan layer_norm le leaky_relu lerp lift_fresh_copy
linear linspace log log10 log1p log2 log_sigmoid log_softmax logaddexp logical_and logical_not
logical_or logical_xor logit logsumexp lstm lt masked_fill masked_scatter matmul max max_pool1d
max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices maximum mean median meshgrid
min minimum mish mm movedim mul mv nan_to_num narrow native_group_norm native_layer_norm ne neg
new_full new_ones new_zeros norm one_hot ones ones_like outer pad permute pixel_shuffle
pixel_unshuffle pow prelu prod reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu
relu6 remainder repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d
reshape rms_norm rnn_relu rnn_tanh roll round rsqrt rsub scalar_tensor
scaled_dot_product_attention scatter scatter_add scatter_reduce select select_scatter selu sigmoid
sign silu sin sinc sinh slice slice_scatter softmax softplus softshrink sort special_expit split
split_with_sizes sqrt square squeeze stack std sub sum sym_numel sym_size t tan tanh tensor_split
threshold tile to topk transpose tril triu true_divide trunc unbind unflatten unfold unsqueeze
upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
upsample_nearest3d upsample_nearest_exact1d upsample_nearest_exact2d upsample_nearest_exact3d
upsample_trilinear3d var var_mean where xlogy zeros zeros_like _log_softmax
_native_batch_norm_legit_no_training _softmax _to_copy _upsample_bicubic2d_aa
_upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d _weight_norm
"""
_ATEN = frozenset(_NAMES_OF_ATEN.split())


def _on_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic on sizes alone: lists and strings would multiply into memory without bound."""

    def checked(*numbers: Any) -> Any:
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError(f"sizes are numbers, got {[type(n).__name__ for n in numbers]}")
        result = function(*numbers)
        if not abs(result) < _LIMIT:
            raise ValueError("a size is beyond all bounds")
        return result

    return checked


def _element(values: Any, place: Any) -> Any:
    if not isinstance(values, tuple | list) or not isinstance(place, int):
        raise TypeError(f"there is no element {place!r} of a {type(values).__name__}")
    return values[place]


_ARITHMETIC = {
    "operator.getitem": (operator.getitem, _element),
    **{
        f"operator.{name}": (getattr(operator, name), _on_numbers(getattr(operator, name)))
        for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg")
    },
    **{
        f"torch.{name}": (getattr(torch, name), _on_numbers(getattr(torch, name)))
        for name in ("sym_max", "sym_min", "sym_int", "sym_float")
    },
}
_NAMES = {function: name for name, (function, _) in _ARITHMETIC.items()}


def name_of_operator(target: Any) -> str:
    """Return the name of a graph's target, permitted or not."""
    if target in _NAMES:
        return _NAMES[target]
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}".lstrip(".")


def operator_named(name: Any) -> Callable[..., Any]:
    """Return the operation of that name, such as "aten.conv2d.default".

    Raises:
        UnknownOperatorError: If it is none that programs may use.
    """
    if isinstance(name, str):
        if name in _ARITHMETIC:
            return _ARITHMETIC[name][1]
        space, _, rest = name.partition(".")
        short, _, overload = rest.partition(".")
        if space == "aten" and short in _ATEN:
            found = getattr(getattr(torch.ops.aten, short, None), overload or "default", None)
            if isinstance(found, torch._ops.OpOverload) and not found._schema.is_mutable:
                return found
    raise UnknownOperatorError(
        f"operation {str(name)[:80]!r} is none that a program may use "
        "(see torte.learner.programs.operators)"
    )
