"""Fused kernels: sampling, colour and normalization in one pass over memory."""
