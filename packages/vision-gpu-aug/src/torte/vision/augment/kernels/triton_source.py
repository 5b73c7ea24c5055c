"""The Triton source of the fused CUDA kernel; see `cuda.py`."""

# Triton's language is not Python's: annotations mean compile-time constants, loops are unrolled.
# pyright: reportMissingParameterType=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false

import triton
import triton.language as tl

__all__ = ["augment_kernel"]


@triton.jit
def _fold(v, size, PADDING: tl.constexpr, CORNERS: tl.constexpr):  # noqa: N803
    """Source indices brought into the frame, as `pad_mode` says."""
    last = size - 1.0
    if PADDING == 2:
        low = 0.0 if CORNERS else -0.5
        span = last if CORNERS else size
        t = tl.minimum(tl.abs(v - low), 1e7)
        turns = tl.floor(t / span)
        rest = t - turns * span
        odd = turns - 2.0 * tl.floor(turns * 0.5)
        v = tl.where(odd != 0.0, span - rest, rest) + low
    if PADDING == 0:
        return tl.maximum(tl.minimum(v, last + 2.0), -2.0)
    return tl.maximum(tl.minimum(v, last), 0.0)


@triton.jit
def _centre(v, size, PADDING: tl.constexpr, CORNERS: tl.constexpr):  # noqa: N803
    """Where the filter of an output pixel is centred; see antialiasing.py."""
    if PADDING == 2:
        v = tl.where((v < -0.5) | (v > size - 0.5), _fold(v, size, PADDING, CORNERS), v)
    return tl.maximum(tl.minimum(v, size - 0.5), -0.5)


@triton.jit
def _share(v, wide, size, PADDING: tl.constexpr):  # noqa: N803
    """How much of an output pixel counts: with zeros, what lies in the frame."""
    if PADDING != 0:
        return v * 0.0 + 1.0
    before = tl.maximum(tl.minimum((v + 0.5) / wide + 0.5, 1.0), 0.0)
    return before * tl.maximum(tl.minimum((size - 0.5 - v) / wide + 0.5, 1.0), 0.0)


@triton.jit
def _hat(distance):
    """Weight of a neighbour at this distance."""
    return tl.maximum(1.0 - tl.abs(distance), 0.0)


@triton.jit
def _neighbour(source, place, weight, keep):
    """A neighbour's value times its weight; not read where the weight is zero."""
    wanted = keep & (weight != 0.0)[:, None]
    return tl.load(source + place, mask=wanted, other=0).to(tl.float32) * weight[:, None]


@triton.jit
def _channel(values, channel, which: tl.constexpr):
    """One channel, (BLOCK,), out of (BLOCK, 4)."""
    return tl.sum(tl.where((channel == which)[None, :], values, 0.0), axis=1)


@triton.jit
def _logit(values, channel, p, CHANNELS: tl.constexpr):  # noqa: N803
    gain, shift, saturation = tl.load(p), tl.load(p + 1), tl.load(p + 2)
    active = (gain != 1.0) | (shift != 0.0) | (saturation != 1.0)
    clamped = tl.maximum(tl.minimum(values, 1.0 - 1e-6), 1e-6)
    logits = tl.log(clamped / (1.0 - clamped))
    if CHANNELS == 3:
        weight = tl.where(
            channel == 0, 0.2989, tl.where(channel == 1, 0.587, tl.where(channel == 2, 0.114, 0.0))
        )
    else:
        weight = tl.where(channel < CHANNELS, 1.0 / CHANNELS, 0.0)
    grey = tl.sum(logits * weight[None, :], axis=1)[:, None]
    logits = tl.where(saturation != 1.0, grey + saturation * (logits - grey), logits)
    changed = 1.0 / (1.0 + tl.exp(-(logits * gain + shift)))
    return tl.where(active, changed, values)


@triton.jit
def _matrix(values, channel, p):
    red, green, blue = (
        _channel(values, channel, 0),
        _channel(values, channel, 1),
        _channel(values, channel, 2),
    )
    row = tl.where(channel < 3, channel, 0)
    mixed = (
        tl.load(p + 3 * row)[None, :] * red[:, None]
        + tl.load(p + 3 * row + 1)[None, :] * green[:, None]
        + tl.load(p + 3 * row + 2)[None, :] * blue[:, None]
        + tl.load(p + 9 + row)[None, :]
    )
    return tl.where(tl.load(p + 12) != 0.0, mixed, values)


@triton.jit
def _hue(values, channel, p):
    turn = tl.load(p)
    red, green, blue = (
        _channel(values, channel, 0),
        _channel(values, channel, 1),
        _channel(values, channel, 2),
    )
    high = tl.maximum(tl.maximum(red, green), blue)
    spread = high - tl.minimum(tl.minimum(red, green), blue)
    inverse = 1.0 / tl.where(spread == 0.0, 1.0, spread)
    r, g, b = (high - red) * inverse, (high - green) * inverse, (high - blue) * inverse
    hue = tl.where(red == high, b - g, tl.where(green == high, 2.0 + r - b, 4.0 + g - r))
    hue = hue * (1.0 / 6.0) + turn
    hue = (hue - tl.floor(hue)) * 6.0
    shift = tl.where(channel == 0, 5.0, tl.where(channel == 1, 3.0, 1.0))
    k = hue[:, None] + shift[None, :]
    k = k - 6.0 * tl.floor(k * (1.0 / 6.0))
    part = tl.maximum(tl.minimum(tl.minimum(k, 4.0 - k), 1.0), 0.0)
    return tl.where(turn != 0.0, high[:, None] - spread[:, None] * part, values)


@triton.jit
def _filtered(
    image,
    x,
    y,
    wide_x,
    wide_y,
    height,
    width,
    source_y,
    source_x,
    keep,
    PADDING: tl.constexpr,  # noqa: N803
    CORNERS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Pixels (BLOCK, 4) shrunk along the axes with the exact filter; see antialiasing.py."""
    share = _share(x, wide_x, width * 1.0, PADDING) * _share(y, wide_y, height * 1.0, PADDING)
    x, y = _centre(x, width * 1.0, PADDING, CORNERS), _centre(y, height * 1.0, PADDING, CORNERS)
    left, above = tl.maximum(tl.ceil(x - wide_x), 0.0), tl.maximum(tl.ceil(y - wide_y), 0.0)
    total = tl.zeros((BLOCK, 4), dtype=tl.float32)
    weights = tl.zeros((BLOCK,), dtype=tl.float32)
    for tap_y in range((2.0 * wide_y).to(tl.int32) + 2):
        line = above + tap_y
        beside = tl.where(line < height, _hat((line - y) / wide_y), 0.0)
        for tap_x in range((2.0 * wide_x).to(tl.int32) + 2):
            place = left + tap_x
            weight = beside * tl.where(place < width, _hat((place - x) / wide_x), 0.0)
            at = line.to(tl.int32) * source_y + place.to(tl.int32) * source_x
            total += _neighbour(image, at[:, None], weight, keep)
            weights += weight
    return total * (share / weights)[:, None]


@triton.jit
def augment_kernel(  # noqa: C901 (its stages are unrolled)
    source,
    result,
    matrices,
    moves,
    spread,
    widths,
    params,
    height,
    width,
    out_height,
    out_width,
    source_n,
    source_c,
    source_y,
    source_x,
    result_n,
    result_c,
    result_y,
    result_x,
    param_row,
    scale,
    CHANNELS: tl.constexpr,  # noqa: N803
    PADDING: tl.constexpr,  # noqa: N803
    CORNERS: tl.constexpr,  # noqa: N803
    DENSITY: tl.constexpr,  # noqa: N803
    STAGES: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """One block of output pixels of one sample: sample, colour, store."""
    sample = tl.program_id(0)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < out_height * out_width
    row, column = pixel // out_width, pixel % out_width
    channel = tl.arange(0, 4)
    keep = inside[:, None] & (channel < CHANNELS)[None, :]
    image = source + sample * source_n + channel[None, :] * source_c
    m = matrices + sample * 9
    m0, m1, m2 = tl.load(m), tl.load(m + 1), tl.load(m + 2)
    m3, m4, m5 = tl.load(m + 3), tl.load(m + 4), tl.load(m + 5)
    m6, m7, m8 = tl.load(m + 6), tl.load(m + 7), tl.load(m + 8)
    right, bottom = width * 1.0 - 2.0, height * 1.0 - 2.0
    spread_x, spread_y = tl.load(spread + 2 * sample), tl.load(spread + 2 * sample + 1)
    total = tl.zeros((BLOCK, 4), dtype=tl.float32)
    if tl.load(moves + sample) == 0:
        place = row * source_y + column * source_x
        total += tl.load(image + place[:, None], mask=keep, other=0).to(tl.float32)
    elif tl.load(widths + 2 * sample) > 0.0:
        total += _filtered(
            image,
            m0 * column.to(tl.float32) + m2,
            m4 * row.to(tl.float32) + m5,
            tl.load(widths + 2 * sample),
            tl.load(widths + 2 * sample + 1),
            height,
            width,
            source_y,
            source_x,
            keep,
            PADDING,
            CORNERS,
            BLOCK,
        )
    else:
        for sub_y in tl.static_range(DENSITY):
            for sub_x in tl.static_range(DENSITY):
                u = column.to(tl.float32) + ((sub_x + 0.5) / DENSITY - 0.5) * spread_x
                v = row.to(tl.float32) + ((sub_y + 0.5) / DENSITY - 0.5) * spread_y
                inverse = 1.0 / (m6 * u + m7 * v + m8)
                x = _fold((m0 * u + m1 * v + m2) * inverse, width * 1.0, PADDING, CORNERS)
                y = _fold((m3 * u + m4 * v + m5) * inverse, height * 1.0, PADDING, CORNERS)
                left = tl.maximum(tl.minimum(tl.floor(x), right), 0.0)
                above = tl.maximum(tl.minimum(tl.floor(y), bottom), 0.0)
                wl, wr = _hat(x - left), _hat(x - left - 1.0)
                wa, wb = _hat(y - above), _hat(y - above - 1.0)
                place = above.to(tl.int32) * source_y + left.to(tl.int32) * source_x
                at = place[:, None]
                total += _neighbour(image, at, wl * wa, keep)
                total += _neighbour(image, at + source_x, wr * wa, keep)
                total += _neighbour(image, at + source_y, wl * wb, keep)
                total += _neighbour(image, at + source_x + source_y, wr * wb, keep)
        total = total * (1.0 / (DENSITY * DENSITY))
    values = total * scale
    p = params + sample * param_row
    for k in tl.static_range(len(STAGES)):
        if STAGES[k] == 0:
            known = tl.where(channel < CHANNELS, channel, 0)
            factor, offset = tl.load(p + known), tl.load(p + CHANNELS + known)
            values = values * factor[None, :] + offset[None, :]
            p += 2 * CHANNELS
        if STAGES[k] == 1:
            values = _logit(values, channel, p, CHANNELS)
            p += 3
        if STAGES[k] == 2:
            values = _matrix(values, channel, p)
            p += 13
        if STAGES[k] == 3:
            if CHANNELS == 3:
                values = _hue(values, channel, p)
            p += 1
    out = result + sample * result_n + (row * result_y + column * result_x)[:, None]
    tl.store(out + channel[None, :] * result_c, values.to(result.dtype.element_ty), mask=keep)
