"""Fused kernels: sampling, colour and normalization in one pass over memory."""

__all__: list[str] = []
