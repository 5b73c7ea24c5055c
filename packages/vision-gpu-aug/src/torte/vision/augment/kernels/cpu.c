/* One pass over a batch of images: sample by homography, colour, normalize, convert.
 *
 * The plain PyTorch path (sampling.py, colour.py) is the reference; what is computed here is the
 * same, row by row, so that a row stays in the first-level cache from sampling to storing. Compiled
 * on the user's machine (see cpu.py). Loops are written for the compiler to vectorize, which APART
 * and whole numbers help it to; the pairs of neighbours along x are fetched with one 8-byte load
 * each; what is written goes past the caches.
 */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#define MAX_CHANNELS 4
#define NEAR (2 << 20) /* bytes: images beyond the second-level cache are read where they are */
#define RESTRICT __restrict__

/* Says that the turns of the loop that follows do not meet in memory: gcc does not believe
 * `restrict` of local pointers, and checks at run time for ten pairs of them at most. */
#if defined(__clang__)
#define APART _Pragma("clang loop vectorize(assume_safety)")
#else
#define APART _Pragma("GCC ivdep")
#endif

enum { ZEROS = 0, BORDER = 1, REFLECTION = 2 };
enum { CHANNEL_AFFINE = 0, LOGIT = 1, MATRIX = 2, HUE = 3 };
enum { UINT8 = 0, FLOAT32 = 1, BFLOAT16 = 2 };

typedef struct {
    const void *source;
    int64_t n, channels, height, width;
    int64_t source_strides[4];
    int64_t source_kind;
    void *output;
    int64_t out_height, out_width;
    int64_t output_strides[4];
    int64_t output_kind;
    const float *matrices;       /* n x 9, output indices to source indices */
    const int8_t *moves;         /* n, 0: the map is the identity between frames of one size */
    const float *spread;         /* n x 2, how far apart the subsamples of a pixel lie */
    const float *widths;         /* n x 2, of the filters of a shrink along the axes; 0: it is none */
    int64_t padding, align_corners, density;
    float scale;
    int32_t stages;
    const int32_t *codes;        /* of each stage */
    const float *const *params;  /* of each stage, one row a sample */
    const int64_t *param_rows;   /* numbers from one sample's row to the next; 0: shared */
    int64_t threads;
    int64_t next;                /* the sample that comes next, taken atomically */
} Job;

typedef struct {
    float *rows;       /* channels x lane: the row in work */
    float *sums;       /* channels x lane: sums over the sub-rows of one output row */
    float *across;     /* output indices along a row, with their fractions */
    float *x, *y;      /* source indices */
    float *left, *right, *up, *down;  /* weights of the neighbours on each side */
    int32_t *place;    /* index of the upper left neighbour */
    uint32_t *packed;  /* the sample's pixels: 4 x 8 bit of uint8 sources, or planes of floats */
    const float *plane;              /* the sample's first plane of floats, packed or as it is */
    int64_t plane_step, line_step;   /* to the next plane, to the next line */
    uint64_t *top, *bottom;
    int64_t lane;
    float *across_taps, *down_taps;      /* weights of a filter: tap by tap, each of all pixels */
    int32_t *across_start, *down_start;  /* the first source pixel of each */
    float *line;                         /* source width + taps: a source line filtered downwards */
} Space;

/* ---- coordinates -------------------------------------------------------------------------------- */

static inline float least(float a, float b) { return a < b ? a : b; }
static inline float most(float a, float b) { return a > b ? a : b; }

static void fold(float *RESTRICT v, int64_t n, int64_t size, int64_t padding, int64_t corners) {
    const float last = (float)(size - 1);
    if (padding == REFLECTION) {
        /* A triangle wave: how far it is to the nearest multiple of the period. */
        const float low = corners ? 0.0f : -0.5f, period = 2.0f * (corners ? last : (float)size);
        const float turns = 1.0f / period;
        APART
        for (int64_t i = 0; i < n; i++) {
            float t = v[i] - low;
            v[i] = fabsf(t - period * rintf(t * turns)) + low;
        }
    }
    const float first = padding == ZEROS ? -2.0f : 0.0f, end = padding == ZEROS ? last + 2.0f : last;
    APART
    for (int64_t i = 0; i < n; i++) v[i] = most(least(v[i], end), first);
}

/* The index of a subsample: pixel by pixel, `spread` apart about each centre. */
static inline float subsample(int64_t index, int64_t density, float spread) {
    const int64_t whole = index / density, inside = index - whole * density;
    return (float)whole + (((float)inside + 0.5f) / (float)density - 0.5f) * spread;
}

static void locate(const Job *job, const Space *s, const float *m, float v, int64_t count) {
    const float *RESTRICT across = s->across;
    const float across_x = m[0], across_y = m[3], across_w = m[6];
    const float x0 = m[1] * v + m[2], y0 = m[4] * v + m[5], w0 = m[7] * v + m[8];
    float *RESTRICT x = s->x, *RESTRICT y = s->y;
    if (m[6] == 0.0f && m[7] == 0.0f && m[8] == 1.0f) {
        APART
        for (int64_t i = 0; i < count; i++) {
            float u = across[i];
            x[i] = across_x * u + x0;
            y[i] = across_y * u + y0;
        }
    } else {
        APART
        for (int64_t i = 0; i < count; i++) {
            float u = across[i];
            float inverse = 1.0f / (across_w * u + w0);
            x[i] = (across_x * u + x0) * inverse;
            y[i] = (across_y * u + y0) * inverse;
        }
    }
    fold(x, count, job->width, job->padding, job->align_corners);
    fold(y, count, job->height, job->padding, job->align_corners);
}

/* In whole numbers: of the same on floats gcc makes branches, and no vectors. */
static inline int32_t within(int32_t v, int32_t last) {
    v = v < last ? v : last;
    return v > 0 ? v : 0;
}

/* Weights are the hat function about each neighbour: zero beyond, so padding by zeros needs no
 * case of its own, and the left neighbour can be kept off the last column. */
static void weigh(const Job *job, const Space *s, int64_t pitch, int64_t count) {
    const int32_t last_x = (int32_t)job->width - 2, last_y = (int32_t)job->height - 2;
    const float *RESTRICT x = s->x, *RESTRICT y = s->y;
    float *RESTRICT left = s->left, *RESTRICT right = s->right;
    float *RESTRICT up = s->up, *RESTRICT down = s->down;
    int32_t *RESTRICT place = s->place;
    APART
    for (int64_t i = 0; i < count; i++) {
        int32_t column = within((int32_t)(x[i] + 4.0f) - 4, last_x);
        int32_t line = within((int32_t)(y[i] + 4.0f) - 4, last_y);
        float dx = x[i] - (float)column, dy = y[i] - (float)line;
        left[i] = most(1.0f - fabsf(dx), 0.0f);
        right[i] = most(1.0f - fabsf(dx - 1.0f), 0.0f);
        up[i] = most(1.0f - fabsf(dy), 0.0f);
        down[i] = most(1.0f - fabsf(dy - 1.0f), 0.0f);
        place[i] = line * (int32_t)pitch + column;
    }
}

/* ---- sampling ----------------------------------------------------------------------------------- */

static void pack(const Job *job, Space *s, const uint8_t *image) {
    const int64_t *st = job->source_strides;
    for (int64_t j = 0; j < job->height; j++) {
        uint32_t *RESTRICT out = s->packed + j * job->width;
        const uint8_t *line = image + j * st[2];
        if (job->channels == 3 && st[3] == 1) {
            const uint8_t *RESTRICT r = line, *RESTRICT g = line + st[1], *RESTRICT b = line + 2 * st[1];
            for (int64_t i = 0; i < job->width; i++)
                out[i] = (uint32_t)r[i] | (uint32_t)g[i] << 8 | (uint32_t)b[i] << 16;
        } else if (job->channels == 3 && st[3] == 3 && st[1] == 1) {
            for (int64_t i = 0; i < job->width; i++)
                out[i] = (uint32_t)line[3 * i] | (uint32_t)line[3 * i + 1] << 8 |
                         (uint32_t)line[3 * i + 2] << 16;
        } else {
            for (int64_t i = 0; i < job->width; i++) {
                uint32_t value = 0;
                for (int64_t c = 0; c < job->channels; c++)
                    value |= (uint32_t)line[i * st[3] + c * st[1]] << (8 * c);
                out[i] = value;
            }
        }
    }
}

static void copy_planes(const Job *job, float *RESTRICT out, const float *image) {
    const int64_t *st = job->source_strides, n = job->width;
    for (int64_t c = 0; c < job->channels; c++)
        for (int64_t j = 0; j < job->height; j++, out += n) {
            const float *RESTRICT line = image + c * st[1] + j * st[2];
            if (st[3] == 1)
                memcpy(out, line, sizeof(float) * (size_t)n);
            else
                for (int64_t i = 0; i < n; i++) out[i] = line[i * st[3]];
        }
}

static int is_packed(const Job *job) {
    const int64_t bytes = (int64_t)sizeof(float) * job->channels * job->height * job->width;
    const int is_far = job->source_strides[2] * job->height > INT32_MAX; /* `place` has 32 bits */
    return job->source_kind == UINT8 || job->source_strides[3] != 1 || bytes <= NEAR || is_far;
}

/* A turned row meets its source in an order that no prefetcher guesses, a page for every few of its
 * pixels: so a sample is first brought, in its own order, to where all of it is near. */
static void bring(const Job *job, Space *s, int64_t sample) {
    const int64_t *st = job->source_strides, at = sample * st[0];
    if (job->source_kind == UINT8) {
        pack(job, s, (const uint8_t *)job->source + at);
        return;
    }
    const float *image = (const float *)job->source + at;
    const int packed = is_packed(job);
    if (packed) copy_planes(job, (float *)s->packed, image);
    s->plane = packed ? (const float *)s->packed : image;
    s->plane_step = packed ? job->height * job->width : st[1];
    s->line_step = packed ? job->width : st[2];
}

static void fetch(const Space *s, const char *base, int64_t down, int64_t count) {
    const int32_t *RESTRICT place = s->place;
    uint64_t *RESTRICT top = s->top, *RESTRICT bottom = s->bottom;
    for (int64_t i = 0; i < count; i++) {
        const char *at = base + 4 * (int64_t)place[i];
        memcpy(top + i, at, 8);
        memcpy(bottom + i, at + down, 8);
    }
}

#define WEIGHTS(s)                                                      \
    const float *RESTRICT left = (s)->left, *RESTRICT right = (s)->right; \
    const float *RESTRICT up = (s)->up, *RESTRICT down = (s)->down

static void blend_bytes(const Space *s, int shift, float scale, float *RESTRICT out, int64_t count) {
    const uint32_t *RESTRICT top = (const uint32_t *)s->top;
    const uint32_t *RESTRICT bottom = (const uint32_t *)s->bottom;
    WEIGHTS(s);
    APART
    for (int64_t i = 0; i < count; i++) {
        int64_t a = 2 * i, b = 2 * i + 1;
        float before = (float)(int32_t)((top[a] >> shift) & 255) * up[i] +
                       (float)(int32_t)((bottom[a] >> shift) & 255) * down[i];
        float after = (float)(int32_t)((top[b] >> shift) & 255) * up[i] +
                      (float)(int32_t)((bottom[b] >> shift) & 255) * down[i];
        out[i] = (before * left[i] + after * right[i]) * scale;
    }
}

static void blend_floats(const Space *s, float *RESTRICT out, int64_t count) {
    const float *RESTRICT top = (const float *)s->top, *RESTRICT bottom = (const float *)s->bottom;
    WEIGHTS(s);
    APART
    for (int64_t i = 0; i < count; i++) {
        int64_t a = 2 * i, b = 2 * i + 1;
        float before = top[a] * up[i] + bottom[a] * down[i];
        float after = top[b] * up[i] + bottom[b] * down[i];
        out[i] = before * left[i] + after * right[i];
    }
}

static void sample_row(const Job *job, Space *s, int64_t sample, float row, int64_t count) {
    locate(job, s, job->matrices + 9 * sample, row, count);
    if (job->source_kind == UINT8) {
        weigh(job, s, job->width, count);
        fetch(s, (const char *)s->packed, 4 * job->width, count);
        for (int64_t c = 0; c < job->channels; c++)
            blend_bytes(s, (int)(8 * c), job->scale, s->rows + c * s->lane, count);
        return;
    }
    weigh(job, s, s->line_step, count);
    for (int64_t c = 0; c < job->channels; c++) {
        fetch(s, (const char *)(s->plane + c * s->plane_step), 4 * s->line_step, count);
        blend_floats(s, s->rows + c * s->lane, count);
    }
}

static void copy_row(const Job *job, Space *s, int64_t sample, int64_t row) {
    const int64_t *st = job->source_strides;
    for (int64_t c = 0; c < job->channels; c++) {
        float *RESTRICT out = s->rows + c * s->lane;
        const int64_t at = sample * st[0] + c * st[1] + row * st[2];
        if (job->source_kind == UINT8) {
            const uint8_t *RESTRICT in = (const uint8_t *)job->source + at;
            for (int64_t i = 0; i < job->out_width; i++) out[i] = (float)in[i * st[3]] * job->scale;
        } else {
            const float *RESTRICT in = (const float *)job->source + at;
            for (int64_t i = 0; i < job->out_width; i++) out[i] = in[i * st[3]];
        }
    }
}

/* The mean of density x density samples for each pixel of an output row. */
static void sample_mean(const Job *job, Space *s, int64_t sample, int64_t row) {
    const int64_t k = job->density, wide = job->out_width * k;
    const float part = 1.0f / (float)(k * k);
    memset(s->sums, 0, sizeof(float) * (size_t)(job->channels * s->lane));
    for (int64_t sub = 0; sub < k; sub++) {
        const float at = subsample(row * k + sub, k, job->spread[2 * sample + 1]);
        sample_row(job, s, sample, at, wide);
        for (int64_t c = 0; c < job->channels; c++) {
            const float *RESTRICT in = s->rows + c * s->lane;
            float *RESTRICT sum = s->sums + c * s->lane;
            for (int64_t i = 0; i < job->out_width; i++)
                for (int64_t j = 0; j < k; j++) sum[i] += in[i * k + j];
        }
    }
    for (int64_t c = 0; c < job->channels; c++)
        for (int64_t i = 0; i < job->out_width; i++)
            s->rows[c * s->lane + i] = s->sums[c * s->lane + i] * part;
}

/* ---- shrinking along the axes, exactly ---------------------------------------------------------- */

static int64_t taps_of(float width) { return (int64_t)(2.0f * width) + 2; }

/* Weights of one axis, see antialiasing.py: tap k of output i at weights[k * pitch + i]. */
static void filter(const Job *job, float step, float offset, float width, int64_t size, int64_t count,
                   int64_t pitch, float *RESTRICT weights, int32_t *RESTRICT start) {
    const float end = (float)size - 0.5f;
    const int64_t taps = taps_of(width);
    for (int64_t i = 0; i < count; i++) {
        float at = step * (float)i + offset, share = 1.0f, total = 0.0f;
        if (job->padding == ZEROS)
            share = most(least((at + 0.5f) / width + 0.5f, 1.0f), 0.0f) *
                    most(least((end - at) / width + 0.5f, 1.0f), 0.0f);
        else if (job->padding == REFLECTION && (at < -0.5f || at > end))
            fold(&at, 1, size, REFLECTION, job->align_corners);
        at = most(least(at, end), -0.5f);
        start[i] = (int32_t)most(ceilf(at - width), 0.0f);
        for (int64_t k = 0; k < taps; k++) {
            const int64_t place = start[i] + k;
            const float weight = most(1.0f - fabsf((float)place - at) / width, 0.0f);
            total += weights[k * pitch + i] = place < size ? weight : 0.0f;
        }
        for (int64_t k = 0; k < taps; k++) weights[k * pitch + i] *= share / total;
    }
}

static int is_filtered(const Job *job, int64_t sample) { return job->widths[2 * sample] > 0.0f; }

static void prepare_filters(const Job *job, Space *s, int64_t sample) {
    const float *m = job->matrices + 9 * sample, *width = job->widths + 2 * sample;
    const int64_t columns = job->out_width, lines = job->out_height;
    filter(job, m[0], m[2], width[0], job->width, columns, s->lane, s->across_taps, s->across_start);
    filter(job, m[4], m[5], width[1], job->height, lines, lines, s->down_taps, s->down_start);
}

static void add_bytes(float *RESTRICT sum, const uint8_t *RESTRICT in, int64_t step, float weight,
                      int64_t n) {
    if (step == 1)
        for (int64_t i = 0; i < n; i++) sum[i] += weight * (float)in[i];
    else
        for (int64_t i = 0; i < n; i++) sum[i] += weight * (float)in[i * step];
}

static void add_floats(float *RESTRICT sum, const float *RESTRICT in, int64_t step, float weight,
                       int64_t n) {
    if (step == 1)
        for (int64_t i = 0; i < n; i++) sum[i] += weight * in[i];
    else
        for (int64_t i = 0; i < n; i++) sum[i] += weight * in[i * step];
}

/* Downwards first, which is long runs of neighbours, and only the columns that are looked at. */
static void filter_row(const Job *job, Space *s, int64_t sample, int64_t row) {
    const int64_t *st = job->source_strides, n = job->out_width, lines = job->out_height;
    const float *width = job->widths + 2 * sample;
    const int64_t across = taps_of(width[0]), down = taps_of(width[1]);
    const int32_t *RESTRICT start = s->across_start;
    int64_t first = job->width, end = 0;
    for (int64_t i = 0; i < n; i++) {
        first = start[i] < first ? start[i] : first;
        end = start[i] + across > end ? start[i] + across : end;
    }
    const int64_t seen = (end < job->width ? end : job->width) - first;
    const float scale = job->source_kind == UINT8 ? job->scale : 1.0f;
    for (int64_t c = 0; c < job->channels; c++) {
        memset(s->line + first, 0, sizeof(float) * (size_t)(end - first));
        for (int64_t k = 0; k < down; k++) {
            const float weight = s->down_taps[k * lines + row];
            if (weight == 0.0f) continue; /* beyond the frame or the filter */
            const int64_t at = sample * st[0] + c * st[1] + (s->down_start[row] + k) * st[2] + first * st[3];
            if (job->source_kind == UINT8)
                add_bytes(s->line + first, (const uint8_t *)job->source + at, st[3], weight, seen);
            else
                add_floats(s->line + first, (const float *)job->source + at, st[3], weight, seen);
        }
        float *RESTRICT out = s->rows + c * s->lane;
        memset(out, 0, sizeof(float) * (size_t)n);
        for (int64_t k = 0; k < across; k++) {
            const float *RESTRICT weights = s->across_taps + k * s->lane, *RESTRICT line = s->line + k;
            APART
            for (int64_t i = 0; i < n; i++) out[i] += weights[i] * line[start[i]];
        }
        for (int64_t i = 0; i < n; i++) out[i] *= scale;
    }
}

/* ---- colour ------------------------------------------------------------------------------------- */

static inline float bits_float(int32_t i) { float f; memcpy(&f, &i, 4); return f; }
static inline int32_t float_bits(float f) { int32_t i; memcpy(&i, &f, 4); return i; }

/* Natural logarithm of positive normal numbers and exponential, after Cephes (Moshier, 1992). */
static inline float logarithm(float v) {
    int32_t bits = float_bits(v) - 0x3f3504f3;  /* sqrt(1/2): mantissas lie about 1 */
    int32_t exponent = bits >> 23;
    float e = (float)exponent, f = bits_float((bits & 0x007fffff) + 0x3f3504f3) - 1.0f, z = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    return (p * f * z - 2.12194440e-4f * e - 0.5f * z) + f + 0.693359375f * e;
}

static inline float exponential(float v) {
    v = most(least(v, 87.0f), -87.0f);
    float whole = floorf(v * 1.44269504088896341f + 0.5f);
    float f = v - whole * 0.693359375f + whole * 2.12194440e-4f, z = f * f;
    float p = 1.9875691500e-4f;
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    return (p * z + f + 1.0f) * bits_float(((int32_t)whole + 127) << 23);
}

static const float GREY[3] = {0.2989f, 0.587f, 0.114f};
static const float EPSILON = 1e-6f;

static void logit_stage(const Job *job, Space *s, const float *p) {
    const float gain = p[0], shift = p[1], saturation = p[2];
    const int64_t n = job->out_width;
    if (gain == 1.0f && shift == 0.0f && saturation == 1.0f) return;
    for (int64_t c = 0; c < job->channels; c++) {
        float *RESTRICT v = s->rows + c * s->lane;
        for (int64_t i = 0; i < n; i++) {
            float clamped = most(least(v[i], 1.0f - EPSILON), EPSILON);
            v[i] = logarithm(clamped / (1.0f - clamped));
        }
    }
    if (saturation != 1.0f) {
        float *RESTRICT grey = s->x;
        for (int64_t i = 0; i < n; i++) grey[i] = 0.0f;
        for (int64_t c = 0; c < job->channels; c++) {
            const float weight = job->channels == 3 ? GREY[c] : 1.0f / (float)job->channels;
            const float *RESTRICT v = s->rows + c * s->lane;
            for (int64_t i = 0; i < n; i++) grey[i] += weight * v[i];
        }
        for (int64_t c = 0; c < job->channels; c++) {
            float *RESTRICT v = s->rows + c * s->lane;
            for (int64_t i = 0; i < n; i++) v[i] = grey[i] + saturation * (v[i] - grey[i]);
        }
    }
    for (int64_t c = 0; c < job->channels; c++) {
        float *RESTRICT v = s->rows + c * s->lane;
        for (int64_t i = 0; i < n; i++) v[i] = 1.0f / (1.0f + exponential(-(v[i] * gain + shift)));
    }
}

static void affine_stage(const Job *job, Space *s, const float *p) {
    for (int64_t c = 0; c < job->channels; c++) {
        const float scale = p[c], offset = p[job->channels + c];
        float *RESTRICT v = s->rows + c * s->lane;
        for (int64_t i = 0; i < job->out_width; i++) v[i] = v[i] * scale + offset;
    }
}

static void matrix_stage(const Job *job, Space *s, const float *p) {
    if (p[12] == 0.0f) return;
    const int64_t n = job->out_width;
    float *RESTRICT r = s->rows, *RESTRICT g = r + s->lane, *RESTRICT b = g + s->lane;
    float q[12];
    memcpy(q, p, sizeof q);
    APART
    for (int64_t i = 0; i < n; i++) {
        float red = r[i], green = g[i], blue = b[i];
        r[i] = q[0] * red + q[1] * green + q[2] * blue + q[9];
        g[i] = q[3] * red + q[4] * green + q[5] * blue + q[10];
        b[i] = q[6] * red + q[7] * green + q[8] * blue + q[11];
    }
}

static inline float hue_channel(float hue, float shift, float high, float spread) {
    float k = hue + shift;
    k -= 6.0f * floorf(k * (1.0f / 6.0f));
    return high - spread * most(least(least(k, 4.0f - k), 1.0f), 0.0f);
}

static void hue_stage(const Job *job, Space *s, const float *p) {
    if (p[0] == 0.0f || job->channels != 3) return;
    const int64_t n = job->out_width;
    float *RESTRICT r = s->rows, *RESTRICT g = r + s->lane, *RESTRICT b = g + s->lane;
    const float turn = p[0];
    APART
    for (int64_t i = 0; i < n; i++) {
        float high = most(most(r[i], g[i]), b[i]), low = least(least(r[i], g[i]), b[i]);
        float spread = high - low, inverse = 1.0f / (spread == 0.0f ? 1.0f : spread);
        float red = (high - r[i]) * inverse, green = (high - g[i]) * inverse;
        float blue = (high - b[i]) * inverse;
        float hue = r[i] == high ? blue - green : g[i] == high ? 2.0f + red - blue : 4.0f + green - red;
        hue = hue * (1.0f / 6.0f) + turn;
        hue = (hue - floorf(hue)) * 6.0f;
        r[i] = hue_channel(hue, 5.0f, high, spread);
        g[i] = hue_channel(hue, 3.0f, high, spread);
        b[i] = hue_channel(hue, 1.0f, high, spread);
    }
}

static void colour(const Job *job, Space *s, int64_t sample) {
    for (int32_t k = 0; k < job->stages; k++) {
        const float *p = job->params[k] + sample * job->param_rows[k];
        switch (job->codes[k]) {
        case CHANNEL_AFFINE: affine_stage(job, s, p); break;
        case LOGIT: logit_stage(job, s, p); break;
        case MATRIX: matrix_stage(job, s, p); break;
        case HUE: hue_stage(job, s, p); break;
        }
    }
}

/* ---- storing ------------------------------------------------------------------------------------ */

static inline uint16_t rounded(float v) {
    uint32_t bits = (uint32_t)float_bits(v);
    if (v != v) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Past the caches where the processor can: nobody reads the output before the batch is done. */
static void stream(float *RESTRICT out, const float *RESTRICT in, int64_t n) {
#ifdef __AVX__
    if (((uintptr_t)out & 31) == 0) {
        int64_t i = 0;
        for (; i + 8 <= n; i += 8) _mm256_stream_ps(out + i, _mm256_load_ps(in + i));
        for (; i < n; i++) out[i] = in[i];
        return;
    }
#endif
    memcpy(out, in, sizeof(float) * (size_t)n);
}

/* What was streamed is seen by every thread from here on. */
static void settle(void) {
#ifdef __AVX__
    _mm_sfence();
#endif
}

static void store(const Job *job, const Space *s, int64_t sample, int64_t row) {
    const int64_t *st = job->output_strides, n = job->out_width;
    const int64_t base = sample * st[0] + row * st[2];
    if (job->output_kind == FLOAT32 && job->channels == 3 && st[3] == 3 && st[1] == 1) {
        float *RESTRICT out = (float *)job->output + base;
        const float *RESTRICT r = s->rows, *RESTRICT g = r + s->lane, *RESTRICT b = g + s->lane;
        for (int64_t i = 0; i < n; i++) {
            out[3 * i] = r[i];
            out[3 * i + 1] = g[i];
            out[3 * i + 2] = b[i];
        }
        return;
    }
    for (int64_t c = 0; c < job->channels; c++) {
        const float *RESTRICT in = s->rows + c * s->lane;
        if (job->output_kind == BFLOAT16) {
            uint16_t *RESTRICT out = (uint16_t *)job->output + base + c * st[1];
            for (int64_t i = 0; i < n; i++) out[i * st[3]] = rounded(in[i]);
        } else if (st[3] == 1) {
            stream((float *)job->output + base + c * st[1], in, n);
        } else {
            float *RESTRICT out = (float *)job->output + base + c * st[1];
            for (int64_t i = 0; i < n; i++) out[i * st[3]] = in[i];
        }
    }
}

/* ---- the batch ---------------------------------------------------------------------------------- */

static void one_sample(const Job *job, Space *s, int64_t sample) {
    const int moves = job->moves[sample];
    const float *spread = job->spread + 2 * sample;
    /* Where nothing is shrunk, all subsamples are one. */
    const int64_t density = spread[0] == 0.0f && spread[1] == 0.0f ? 1 : job->density;
    for (int64_t i = 0; i < job->out_width * density; i++)
        s->across[i] = subsample(i, density, spread[0]);
    const int filtered = is_filtered(job, sample);
    if (filtered)
        prepare_filters(job, s, sample);
    else if (moves)
        bring(job, s, sample);
    for (int64_t row = 0; row < job->out_height; row++) {
        if (!moves)
            copy_row(job, s, sample, row);
        else if (filtered)
            filter_row(job, s, sample, row);
        else if (density == 1)
            sample_row(job, s, sample, (float)row, job->out_width);
        else
            sample_mean(job, s, sample, row);
        colour(job, s, sample);
        store(job, s, sample, row);
    }
}

static void *aligned(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, bytes ? bytes : 64) ? NULL : memory;
}

static int reserve(const Job *job, Space *s) {
    const size_t lane = (size_t)(job->out_width * job->density + 63) & ~(size_t)63;
    const size_t planes = job->source_kind == UINT8 ? 1 : (size_t)job->channels;
    const size_t pixels = is_packed(job) ? planes * (size_t)(job->height * job->width) + 2 : 0;
    char *block = aligned(4 * lane * (2 * MAX_CHANNELS + 12) + 4 * pixels + 64);
    if (!block) return -1;
    float *at = (float *)block;
    s->lane = (int64_t)lane;
    s->rows = at, at += MAX_CHANNELS * lane;
    s->sums = at, at += MAX_CHANNELS * lane;
    s->across = at, at += lane;
    s->x = at, at += lane;
    s->y = at, at += lane;
    s->left = at, at += lane;
    s->right = at, at += lane;
    s->up = at, at += lane;
    s->down = at, at += lane;
    s->place = (int32_t *)at, at += lane;
    s->top = (uint64_t *)at, at += 2 * lane;
    s->bottom = (uint64_t *)at, at += 2 * lane;
    s->packed = (uint32_t *)at;
    return 0;
}

/* Room for the widest filter of the batch; none where there is no filter. */
static int reserve_filters(const Job *job, Space *s) {
    float width[2] = {0.0f, 0.0f};
    for (int64_t i = 0; i < 2 * job->n; i++) width[i & 1] = most(width[i & 1], job->widths[i]);
    s->across_taps = NULL;
    if (width[0] == 0.0f) return 0;
    const size_t across = (size_t)taps_of(width[0]), down = (size_t)taps_of(width[1]);
    const size_t lines = (size_t)job->out_height, lane = (size_t)s->lane;
    float *at = aligned(4 * ((across + 1) * lane + (down + 1) * lines + (size_t)job->width + across));
    if (!at) return -1;
    s->across_taps = at, at += across * lane;
    s->across_start = (int32_t *)at, at += lane;
    s->down_taps = at, at += down * lines;
    s->down_start = (int32_t *)at, at += lines;
    s->line = at;
    return 0;
}

static void *work(void *argument) {
    Job *job = argument;
    Space space;
    if (reserve(job, &space)) return (void *)1;
    if (reserve_filters(job, &space)) {
        free(space.rows);
        return (void *)1;
    }
    for (;;) {
        int64_t sample = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);
        if (sample >= job->n) break;
        one_sample(job, &space, sample);
    }
    free(space.across_taps);
    free(space.rows);
    settle();
    return NULL;
}

/* A large output is memory that nobody has touched yet: with huge pages the system hands it over in
 * a few steps instead of thousands (a third of the whole time at 64 x 3 x 224 x 224). */
static void prefer_huge_pages(const Job *job) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = (uintptr_t)1 << 21;
    const uintptr_t width = job->output_kind == BFLOAT16 ? 2 : 4;
    const uintptr_t bytes =
        (uintptr_t)(job->n * job->channels * job->out_height * job->out_width) * width;
    const uintptr_t first = ((uintptr_t)job->output + page - 1) & ~(page - 1);
    const uintptr_t last = ((uintptr_t)job->output + bytes) & ~(page - 1);
    if (last > first + page) madvise((void *)first, last - first, MADV_HUGEPAGE);
#else
    (void)job;
#endif
}

/* Returns 0, or 1 where memory ran out (the output is then incomplete). */
int torte_augment(Job *job) {
    pthread_t others[256];
    int64_t started = 0, failed = 0;
    int64_t wanted = job->threads < job->n ? job->threads : job->n;
    job->next = 0;
    prefer_huge_pages(job);
    for (; started < wanted - 1 && started < 256; started++)
        if (pthread_create(&others[started], NULL, work, job)) break;
    failed |= work(job) != NULL;
    for (int64_t i = 0; i < started; i++) {
        void *result = NULL;
        pthread_join(others[i], &result);
        failed |= result != NULL;
    }
    return (int)failed;
}
