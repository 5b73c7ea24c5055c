"""The published update formulae in float64 NumPy, one generator for each optimizer.

Each takes the starting point and the hypers, is sent a gradient and yields the next point.
"""

from collections.abc import Callable, Generator

import numpy as np

Array = np.ndarray
Reference = Generator[Array, Array, None]


def norm(x: Array) -> float:
    return float(np.sqrt((x**2).sum()))


def adam_averages(m, v, g, t, b1, b2):
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g**2
    return m, v, m / (1 - b1**t), v / (1 - b2**t)


def sgd(p: Array, lr, mom=0.0, wd=0.0, decouple=True, nesterov=False) -> Reference:
    m = np.zeros_like(p)
    while True:
        g = yield p
        if decouple:
            p = p * (1 - lr * wd)
        else:
            g = g + wd * p
        m = mom * m + g
        p = p - lr * (g + mom * m if nesterov else m)


def rmsprop(p, lr, mom=0.0, sqr_mom=0.99, eps=1e-8, wd=0.0) -> Reference:
    m, v = np.zeros_like(p), np.zeros_like(p)
    while True:
        g = yield p
        p = p * (1 - lr * wd)
        m, v = mom * m + g, sqr_mom * v + (1 - sqr_mom) * g**2
        p = p - lr * m / (np.sqrt(v) + eps)


def adam(p, lr, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.01, decouple=True) -> Reference:
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0
    while True:
        g = yield p
        t += 1
        if decouple:
            p = p * (1 - lr * wd)
        else:
            g = g + wd * p
        m, v, m_hat, v_hat = adam_averages(m, v, g, t, mom, sqr_mom)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)


def radam(p, lr, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.0, beta=0.0) -> Reference:
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0
    limit = 2 / (1 - sqr_mom) - 1
    while True:
        g = yield p
        t += 1
        p = p * (1 - lr * wd)
        m, v, m_hat, v_hat = adam_averages(m, v, g, t, mom, sqr_mom)
        rho = limit - 2 * t * sqr_mom**t / (1 - sqr_mom**t)
        if rho > 5:
            rectified = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
            denominator = np.sqrt(v_hat) + eps
            if beta:
                denominator = np.log1p(np.exp(beta * denominator)) / beta
            p = p - lr * np.sqrt(rectified) * m_hat / denominator
        else:
            p = p - lr * m_hat


def qhadam(p, lr, mom=0.999, sqr_mom=0.999, nu_1=0.7, nu_2=1.0, eps=1e-8, wd=0.0) -> Reference:
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0
    while True:
        g = yield p
        t += 1
        p = p * (1 - lr * wd)
        m, v, m_hat, v_hat = adam_averages(m, v, g, t, mom, sqr_mom)
        top = (1 - nu_1) * g + nu_1 * m_hat
        p = p - lr * top / (np.sqrt((1 - nu_2) * g**2 + nu_2 * v_hat) + eps)


def larc(p, lr, mom=0.9, clip=True, trust_coeff=0.02, eps=1e-8, wd=0.0) -> Reference:
    m = np.zeros_like(p)
    while True:
        g = yield p
        local = lr * trust_coeff * norm(p) / (norm(g) + wd * norm(p) + eps)
        if norm(p) == 0 or norm(g) == 0:
            local = lr
        elif clip:
            local = min(lr, local)
        m = mom * m + g
        p = p * (1 - lr * wd) - local * m


def lamb(p, lr, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.0) -> Reference:
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0
    while True:
        g = yield p
        t += 1
        m, v, m_hat, v_hat = adam_averages(m, v, g, t, mom, sqr_mom)
        u = m_hat / (np.sqrt(v_hat) + eps) + wd * p
        trust = 1.0 if norm(p) == 0 or norm(u) == 0 else min(norm(p) / norm(u), 10)
        p = p - lr * trust * u


def lion(p, lr=1e-4, mom=0.9, avg_mom=0.99, wd=0.0) -> Reference:
    m = np.zeros_like(p)
    while True:
        g = yield p
        p = p - lr * (np.sign(mom * m + (1 - mom) * g) + wd * p)
        m = avg_mom * m + (1 - avg_mom) * g


def adan(p, lr=1e-3, mom=0.98, diff_mom=0.92, sqr_mom=0.99, eps=1e-8, wd=0.0) -> Reference:
    m, v, n, t, before = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p), 0, None
    while True:
        g = yield p
        t += 1
        d = np.zeros_like(g) if before is None else g - before
        before = g
        m = mom * m + (1 - mom) * g
        v = diff_mom * v + (1 - diff_mom) * d
        n = sqr_mom * n + (1 - sqr_mom) * (g + diff_mom * d) ** 2
        top = m / (1 - mom**t) + diff_mom * v / (1 - diff_mom**t)
        p = (p - lr * top / (np.sqrt(n / (1 - sqr_mom**t)) + eps)) / (1 + lr * wd)


def adopt(p, lr=1e-3, mom=0.9, sqr_mom=0.9999, eps=1e-6, wd=0.0) -> Reference:
    g = yield p
    m, v, t = np.zeros_like(p), g**2, 1
    while True:
        g = yield p
        bound = t**0.25
        t += 1
        m = mom * m + (1 - mom) * np.clip(g / np.maximum(np.sqrt(v), eps), -bound, bound)
        p = p * (1 - lr * wd) - lr * m
        v = sqr_mom * v + (1 - sqr_mom) * g**2


def schedule_free(
    p, lr=2.5e-3, mom=0.9, sqr_mom=0.999, eps=1e-8, wd=0.0, warmup_steps=0
) -> Reference:
    """In terms of x and z, as the paper has it; yields y."""
    x, z, v, t, weights, top = p, p, np.zeros_like(p), 0, 0.0, 0.0
    while True:
        y = (1 - mom) * z + mom * x
        g = yield y
        t += 1
        rate = lr * min(1.0, t / warmup_steps) if warmup_steps else lr
        top = max(top, rate)
        weights += top**2
        v = sqr_mom * v + (1 - sqr_mom) * g**2
        u = g / (np.sqrt(v / (1 - sqr_mom**t)) + eps) + wd * y
        z = z - rate * u
        c = top**2 / weights
        x = (1 - c) * x + c * z


def lookahead_of_sgd(p, lr, mom=0.0, k=6, alpha=0.5) -> Reference:
    slow, m, t = p, np.zeros_like(p), 0
    while True:
        g = yield p
        t += 1
        m = mom * m + g
        p = p - lr * m
        if t % k == 0:
            slow = slow + alpha * (p - slow)
            p = slow


def run(reference: Callable[..., Reference], start: Array, gradients, **hypers) -> Array:
    """The point after the steps with all `gradients`."""
    generator = reference(start.astype(np.float64), **hypers)
    point = next(generator)
    for gradient in gradients:
        point = generator.send(gradient.astype(np.float64))
    return point
