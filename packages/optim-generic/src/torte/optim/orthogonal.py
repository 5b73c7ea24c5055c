"""Orthogonalizing matrices, one by one or all of one shape together."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

__all__ = ["orthogonal_update", "orthogonal_updates", "orthogonalize"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, ns_steps: int = 5, eps: float = 1e-7) -> Tensor:
    """Move a matrix's singular values towards 1 by Newton-Schulz iterations in bfloat16.

    Args:
        matrix: Shape (n, m), or (batch, n, m) for several.
        ns_steps: Number of iterations.
        eps: Smallest norm to divide by.

    Returns:
        The same shape, bfloat16, singular values roughly within 0.7 and 1.2.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.size(-2) > matrix.size(-1)
    x = matrix.to(torch.bfloat16, copy=True)
    x = x.mT if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=eps)
    add_product = torch.addmm if x.ndim == 2 else torch.baddbmm
    for _ in range(ns_steps):
        gram = x @ x.mT
        x = add_product(x, add_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def orthogonal_update(
    update: Tensor, ns_steps: float, eps: float, match_rms: bool | float = True
) -> Tensor:
    """Muon's update of one parameter: its matrix orthogonalized and scaled.

    Rules may use it in every engine; the list engine takes all matrices of one shape together.

    Args:
        update: Two or more dimensions; the first is taken against all others.
        ns_steps: Newton-Schulz iterations.
        eps: Smallest norm to divide by.
        match_rms: Scale by `0.2·√max(n, m)`; otherwise by `√max(1, n/m)`.

    Returns:
        The shape and dtype of `update`.
    """
    if has_torch_function_unary(update):
        return handle_torch_function(orthogonal_update, (update,), update, ns_steps, eps, match_rms)
    return orthogonal_updates([update], ns_steps, eps, match_rms)[0]


def orthogonal_updates(
    updates: Sequence[Tensor], ns_steps: float, eps: float, match_rms: bool | float
) -> list[Tensor]:
    """`orthogonal_update` of each, those of one shape in one batch of matrix products."""
    alike: dict[tuple[torch.Size, torch.device], list[int]] = {}
    matrices = [update.flatten(1) for update in updates]
    for place, matrix in enumerate(matrices):
        alike.setdefault((matrix.shape, matrix.device), []).append(place)
    results = list(updates)
    for (shape, _), places in alike.items():
        rows, columns = shape
        scale = 0.2 * max(rows, columns) ** 0.5 if match_rms else max(1.0, rows / columns) ** 0.5
        chosen = [matrices[place] for place in places]
        if len(chosen) == 1:
            found: Sequence[Tensor] = [orthogonalize(chosen[0], int(ns_steps), eps)]
        else:
            found = orthogonalize(torch.stack(chosen), int(ns_steps), eps).unbind()
        for place, matrix in zip(places, found, strict=True):
            scaled = matrix.to(updates[place].dtype) * scale
            results[place] = scaled.reshape(updates[place].shape)
    return results
