"""C source for a recorded program: one pass over memory for each phase."""

from collections.abc import Iterator, Mapping

from torte.optim.operations import OPERATIONS, REDUCING
from torte.optim.phases import Phase, before_phases, schedule
from torte.optim.tape import Node, Program

__all__ = ["BLOCK", "kernel_source", "reductions", "slots"]

# Elements that one thread works on at a time: a few such blocks fit a core's second-level cache.
BLOCK = 16384

_PRELUDE = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef {real} real;
#define FN(name) {suffix}
#define SQRT(x) FN(sqrt)(x)
#define FABS(x) FN(fabs)(x)
#define EXP(x) FN(exp)(x)
#define LOG(x) FN(log)(x)
#define TANH(x) FN(tanh)(x)
#define POW(x, y) FN(pow)(x, y)

typedef struct {{ int64_t parameter, offset, length; }} block;
typedef uint16_t bfloat16;

static inline float from_bfloat16(bfloat16 x) {{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}}

static inline bfloat16 to_bfloat16(float value) {{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return value != value ? 0x7fc0 : (bfloat16)rounded;
}}
"""

_STORAGE = {
    "float32": ("float", "{0}", "{0}"),
    "float64": ("double", "{0}", "{0}"),
    "bfloat16": ("bfloat16", "from_bfloat16({0})", "to_bfloat16({0})"),
    "float16": ("_Float16", "(float){0}", "(_Float16){0}"),
}


def kernel_source(program: Program, storage: Mapping[str, str], real: str) -> str:
    """Write the kernel of a program.

    Its entry is `run` (see `_ENTRY`). A wave is a run of whole parameters that goes through all
    phases before the next one starts, so that what one phase touched is still in cache for the
    next.

    Args:
        program: What to compute.
        storage: The dtype in memory of each input and output, by name.
        real: The C type to compute in, `float` or `double`.
    """
    exact = [name for name, dtype in storage.items() if _STORAGE[dtype][0] == real]
    phases = schedule(program, exact)
    suffix = "name##f" if real == "float" else "name"
    parts = [_PRELUDE.format(real=real, suffix=suffix)]
    parts += [_phase_source(program, phase, n, storage) for n, phase in enumerate(phases)]
    before = before_phases(program)
    parts.append(_layer_source(program, "before", before, [], storage))
    parts += [
        _layer_source(program, f"after{n}", phase.layer, phase.reductions, storage)
        for n, phase in enumerate(phases)
    ]
    parts.append(_entry_source(phases, bool(before)))
    return "\n".join(parts)


def slots(program: Program) -> list[str]:
    """Names of the tensors that a kernel takes pointers to, in order."""
    names = list(program.inputs)
    return names + [name for name, _ in program.outputs if name not in names]


def reductions(program: Program) -> list[int]:
    """The reduction nodes, in the order of their partial sums."""
    return [i for i, n in enumerate(program.nodes) if n.operation in REDUCING]


def _operand(program: Program, argument: tuple[str, object]) -> str:
    kind, value = argument
    if kind == "number":
        return f"n{value}"
    if kind == "plain":
        return str(value)
    assert isinstance(value, int)
    return f"l{value}" if program.nodes[value].per_layer else f"v{value}"


def _formula(program: Program, node: Node) -> str:
    operands = [_operand(program, argument) for argument in node.arguments]
    if node.operation == "clamp":
        return _clamp(operands)
    if node.operation == "pow":
        common = _POWERS.get(operands[1])
        if common is not None:
            return common.format(operands[0])
    return OPERATIONS[node.operation].code.format(*operands)


_POWERS = {
    "2.0": "{0} * {0}",
    "3.0": "{0} * {0} * {0}",
    "0.5": "SQRT({0})",
    "-1.0": "1 / {0}",
    "-0.5": "1 / SQRT({0})",
}


def _clamp(operands: list[str]) -> str:
    value, low, high = operands
    if low != "None":
        value = f"({value} < {low} ? {low} : {value})"
    return value if high == "None" else f"({value} > {high} ? {high} : {value})"


def _numbers_used(program: Program, indices: list[int]) -> list[int]:
    used = {v for i in indices for k, v in program.nodes[i].arguments if k == "number"}
    return sorted(used)


def _layers_used(program: Program, indices: list[int]) -> list[int]:
    nodes = program.nodes
    used = {v for i in indices for k, v in nodes[i].arguments if k == "node" and nodes[v].per_layer}
    return sorted(used)


def _phase_source(program: Program, phase: Phase, number: int, storage: Mapping[str, str]) -> str:
    """A function that takes one block through a phase."""
    totals = [f"r{i}" for i in phase.reductions]
    clause = f" reduction(+:{','.join(totals)})" if totals else ""
    places = {node: place for place, node in enumerate(reductions(program))}
    lines = [
        f"static void phase{number}(const block *b, void **pointers, int64_t count,",
        "                   const double *numbers, const double *layer, double *partial) {",
        *_preparation(program, phase, storage),
        # A block is short enough for sums in the working precision; blocks are added up in double.
        *(f"    real {total} = 0;" for total in totals),
        f"    #pragma omp simd{clause}",
        "    for (int64_t i = 0; i < b->length; i++) {",
        *_loop_body(program, phase, storage),
        "    }",
        *(f"    partial[{places[node]}] = r{node};" for node in phase.reductions),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _preparation(program: Program, phase: Phase, storage: Mapping[str, str]) -> Iterator[str]:
    """Pointers, numbers and per-layer values of a block."""
    order = slots(program)
    for name in dict.fromkeys([*phase.loads.values(), *(name for name, _ in phase.stores)]):
        slot, c_type = order.index(name), _STORAGE[storage[name]][0]
        yield f"    {c_type} *restrict t{slot} = ({c_type} *)"
        yield f"        pointers[{slot} * count + b->parameter] + b->offset;"
    for i in _numbers_used(program, phase.computes):
        yield f"    const real n{i} = (real)numbers[{i}];"
    for i in _layers_used(program, phase.computes):
        yield f"    const real l{i} = (real)layer[b->parameter * {len(program.nodes)} + {i}];"


def _loop_body(program: Program, phase: Phase, storage: Mapping[str, str]) -> Iterator[str]:
    """What happens to one element."""
    order = slots(program)
    for node, name in phase.loads.items():
        value = _STORAGE[storage[name]][1].format(f"t{order.index(name)}[i]")
        yield f"        const real v{node} = {value};"
    for node in phase.computes:
        yield f"        const real v{node} = {_formula(program, program.nodes[node])};"
    for node in phase.reductions:
        term = _operand(program, program.nodes[node].arguments[0])
        code = OPERATIONS[program.nodes[node].operation].code
        yield f"        r{node} += {code.format(term)};"
    for name, node in phase.stores:
        # A stored node may also be a value that was only loaded (a copy of another tensor).
        value = _STORAGE[storage[name]][2].format(f"v{node}")
        yield f"        t{order.index(name)}[i] = {value};"


def _layer_source(
    program: Program, name: str, nodes: list[int], reduced: list[int], storage: Mapping[str, str]
) -> str:
    """A function that computes per-layer values of one parameter, adding up partial sums first."""
    order, places = slots(program), {n: i for i, n in enumerate(reductions(program))}
    width = len(places)
    lines = [
        f"static void {name}(int64_t parameter, const int64_t *first, const int64_t *sizes,",
        "                  void **pointers, int64_t count, const double *numbers,",
        "                  const double *partials, double *layer) {",
        f"    double *values = layer + parameter * {len(program.nodes)};",
    ]
    for node in reduced:
        lines += [
            f"    double r{node} = 0;",
            "    for (int64_t b = first[parameter]; b < first[parameter + 1]; b++)",
            f"        r{node} += partials[b * {width} + {places[node]}];",
        ]
    inner = [node for node in nodes if node not in reduced]
    lines += [f"    const double n{i} = numbers[{i}];" for i in _numbers_used(program, inner)]
    for i in _layers_used(program, inner):
        if i not in nodes:
            lines.append(f"    const double l{i} = values[{i}];")
    for node in nodes:
        value = _layer_value(program, node, order, storage)
        lines.append(f"    const double l{node} = {value};")
        lines.append(f"    values[{node}] = l{node};")
    for output, node in program.outputs:
        if node in nodes:
            c_type, _, write = _STORAGE[storage[output]]
            target = f"(({c_type} *)pointers[{order.index(output)} * count + parameter])[0]"
            lines.append(f"    {target} = ({c_type})" + write.format(f"l{node}") + ";")
    return "\n".join([*lines, "}"]) + "\n"


def _layer_value(program: Program, index: int, order: list[str], storage: Mapping[str, str]) -> str:
    node = program.nodes[index]
    if node.operation == "input":
        name = program.inputs[index]
        c_type, read, _ = _STORAGE[storage[name]]
        return read.format(f"(({c_type} *)pointers[{order.index(name)} * count + parameter])[0]")
    if node.operation in REDUCING:
        total = {"norm": "sqrt(r{0})", "mean": "r{0} / sizes[parameter]"}
        return total.get(node.operation, "r{0}").format(index)
    return _formula(program, node)


_ENTRY = """\
#ifdef _OPENMP
int omp_get_thread_num(void);
int omp_get_num_threads(void);
#else
#define omp_get_thread_num() 0
#define omp_get_num_threads() 1
#endif

/* bounds: the first parameter of each wave, and one past the last; first: the first block of each
   parameter, and one past the last; pointers: of each slot, one for each parameter. */
void run(int threads, int64_t waves, const int64_t *bounds, const int64_t *first,
         const block *blocks, const int64_t *sizes, void **pointers, int64_t count,
         const double *numbers, double *partials, double *layer) {{
    #pragma omp parallel num_threads(threads)
    {{
        const int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
        for (int64_t w = 0; w < waves; w++) {{
            const int64_t p0 = bounds[w], p1 = bounds[w + 1];
            const int64_t b0 = first[p0], blocks_here = first[p1] - b0;
            const int64_t from = b0 + blocks_here * thread / team;
            const int64_t to = b0 + blocks_here * (thread + 1) / team;
{body}        }}
    }}
}}
"""

_PHASE_CALL = """\
            for (int64_t b = from; b < to; b++)
                phase{n}(blocks + b, pointers, count, numbers, layer, partials + b * {width});
"""

_LAYER_CALL = """\
            for (int64_t p = p0 + thread; p < p1; p += team)
                {name}(p, first, sizes, pointers, count, numbers, partials, layer);
            #pragma omp barrier
"""


def _entry_source(phases: list[Phase], before: bool) -> str:
    width = sum(len(phase.reductions) for phase in phases)
    body = _LAYER_CALL.format(name="before") if before else ""
    for n, phase in enumerate(phases):
        body += _PHASE_CALL.format(n=n, width=width)
        if phase.layer:
            body += "            #pragma omp barrier\n" + _LAYER_CALL.format(name=f"after{n}")
    return _ENTRY.format(body=body)
