"""A model as a graph of its layers, found by running it once, and drawn.

`trace_model(model, *inputs)` records which layer's output reaches which layer's input, through
whatever functions lie between. A function that brings two streams together (the addition of a
residual block, a concatenation) becomes a node too. Nothing is changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from torte.learner.hooks import evaluating, map_tensors
from torte.learner.model_summary import is_whole
from torte.learner.plots import axes_for

__all__ = ["GraphNode", "ModelGraph", "trace_model"]

_COLOURS = {"input": "#d9ead3", "function": "#fff2cc", "layer": "#cfe2f3"}


@dataclass
class GraphNode:
    """One call of a layer, one joining function, or one input."""

    number: int
    name: str
    """Path of the layer in the model; the function's or the input's name."""
    kind: str
    """Class of the layer, "function" or "input"."""
    shape: tuple[int, ...] | None
    """Shape of the (first) output."""


@dataclass
class ModelGraph:
    """Layers and how tensors flow between them."""

    nodes: list[GraphNode] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    """Pairs of node numbers, from and to."""

    def to_dot(self) -> str:
        """Return the graph in Graphviz's language."""
        lines = ["digraph model {", '  node [shape=box, style="rounded,filled"];']
        for node in self.nodes:
            label = "\\n".join(_label(node)).replace('"', "'")
            lines.append(f'  n{node.number} [label="{label}", fillcolor="{_colour(node)}"];')
        lines += [f"  n{start} -> n{end};" for start, end in self.edges]
        return "\n".join([*lines, "}"])

    def depths(self) -> dict[int, int]:
        """Return each node's longest distance from an input."""
        depth = dict.fromkeys((node.number for node in self.nodes), 0)
        # Nodes are numbered as they ran, so every edge leads to a higher number.
        for start, end in sorted(self.edges, key=lambda edge: edge[1]):
            depth[end] = max(depth[end], depth[start] + 1)
        return depth

    def positions(self) -> dict[int, tuple[float, float]]:
        """Return where to draw each node: across, and downwards from 0."""
        sources: dict[int, list[int]] = defaultdict(list)
        for start, end in self.edges:
            sources[end].append(start)
        rows: dict[int, list[int]] = defaultdict(list)
        for number, depth in self.depths().items():
            rows[depth].append(number)
        across: dict[int, float] = {}
        for depth in sorted(rows):
            wanted = {
                n: sum(across[s] for s in sources[n]) / len(sources[n]) if sources[n] else 0.0
                for n in rows[depth]
            }
            across |= _spread(wanted)
        return {n: (across[n], depth) for depth, row in rows.items() for n in row}

    def draw(self, ax: Any = None, figsize: tuple[float, float] | None = None) -> Any:
        """Draw the graph with matplotlib, inputs on top.

        Args:
            ax: Axes to draw on; new ones by default.
            figsize: Size of a new figure; by default it grows with the graph.

        Returns:
            The axes.
        """
        places = self.positions()
        xs, ys = [p[0] for p in places.values()], [p[1] for p in places.values()]
        width = 2.6 * (max(xs, default=0) - min(xs, default=0) + 1.4)
        ax = axes_for(ax, figsize=figsize or (width, 0.85 * (max(ys, default=0) + 1)))
        for start, end in self.edges:
            _draw_edge(ax, places[start], places[end])
        for node in self.nodes:
            _draw_node(ax, node, places[node.number])
        ax.set_xlim(min(xs, default=0) - 0.7, max(xs, default=0) + 0.7)
        ax.set_ylim(max(ys, default=0) + 0.6, -0.6)
        ax.axis("off")
        return ax


def _spread(wanted: dict[int, float]) -> dict[int, float]:
    """Keep nodes of a row at least one apart, around where they want to be."""
    order = sorted(wanted, key=lambda number: (wanted[number], number))
    placed: dict[int, float] = {}
    for number in order:
        last = max(placed.values(), default=None)
        placed[number] = wanted[number] if last is None else max(wanted[number], last + 1)
    shift = sum(wanted[n] - placed[n] for n in order) / len(order)
    return {number: place + shift for number, place in placed.items()}


def _label(node: GraphNode) -> list[str]:
    shape = "" if node.shape is None else " x ".join(map(str, node.shape))
    title = node.name if node.kind in ("input", "function") else node.kind
    path = node.name if node.kind not in ("input", "function") else ""
    return [line for line in (title, path, shape) if line]


def _colour(node: GraphNode) -> str:
    return _COLOURS.get(node.kind, _COLOURS["layer"])


def _draw_edge(ax: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    # An edge that skips rows in its own column would run through the nodes between.
    hidden = end[1] - start[1] > 1 and abs(start[0] - end[0]) < 0.5
    # Inverted y axis: a negative curvature bows to the right.
    bow = f"arc3,rad={-0.35 if hidden else 0}"
    ax.annotate(
        "",
        xy=(end[0], end[1] - 0.3),
        xytext=(start[0], start[1] + 0.3),
        arrowprops={"arrowstyle": "-|>", "color": "#555555", "connectionstyle": bow, "lw": 1},
        zorder=1,
    )


def _draw_node(ax: Any, node: GraphNode, place: tuple[float, float]) -> None:
    ax.text(
        *place,
        "\n".join(_label(node)),
        ha="center",
        va="center",
        fontsize=7,
        zorder=2,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": _colour(node), "edgecolor": "#555555"},
    )


class _Flow:
    """Follows tensors through a running model by remembering which nodes each comes from."""

    def __init__(self) -> None:
        self.graph = ModelGraph()
        self.inside = 0
        # The tensors are kept, so that no other can get the same id meanwhile.
        self._origins: dict[int, tuple[Tensor, frozenset[int]]] = {}

    def origins(self, value: Any) -> frozenset[int]:
        """Return the numbers of the nodes that a structure's tensors come from."""
        found: set[int] = set()

        def look(tensor: Tensor) -> Tensor:
            found.update(self._origins.get(id(tensor), (tensor, frozenset()))[1])
            return tensor

        map_tensors(look, value)
        return frozenset(found)

    def mark(self, value: Any, origins: frozenset[int]) -> None:
        """Say that a structure's tensors come from these nodes."""

        def note(tensor: Tensor) -> Tensor:
            self._origins[id(tensor)] = (tensor, origins)
            return tensor

        map_tensors(note, value)

    def add(self, name: str, kind: str, output: Any, sources: frozenset[int]) -> None:
        """Add a node, its edges, and mark its output as coming from it alone."""
        shapes: list[tuple[int, ...]] = []
        map_tensors(lambda tensor: shapes.append(tuple(tensor.shape)), output)
        number = len(self.graph.nodes)
        self.graph.nodes.append(GraphNode(number, name, kind, shapes[0] if shapes else None))
        self.graph.edges += [(source, number) for source in sorted(sources)]
        self.mark(output, frozenset([number]))

    @contextmanager
    def hooked(self, units: dict[nn.Module, str]) -> Iterator[None]:
        """Have hooks on the modules that are nodes within the block."""
        waiting: list[frozenset[int]] = []

        def start(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self.inside == 0:
                waiting.append(self.origins((args, kwargs)))
            self.inside += 1

        def finish(module: nn.Module, args: Any, out: Any) -> None:
            self.inside -= 1
            if self.inside == 0:
                kind = type(module).__name__.removeprefix("Parametrized")
                self.add(units[module], kind, out, waiting.pop())

        with ExitStack() as stack:
            for module in units:
                before = module.register_forward_pre_hook(start, with_kwargs=True)
                stack.callback(before.remove)
                stack.callback(module.register_forward_hook(finish).remove)
            yield


class _Watching(TorchFunctionMode):
    """Sees every function of PyTorch that runs between the layers."""

    def __init__(self, flow: _Flow) -> None:
        super().__init__()
        self.flow = flow

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        flow = self.flow
        if flow.inside:
            return func(*args, **kwargs)
        # Before the call: an operation in place returns one of its arguments.
        streams = {flow.origins(tensor) for tensor in _tensors_in((args, kwargs))} - {frozenset()}
        out = func(*args, **kwargs)
        if not _tensors_in(out):
            return out
        sources = frozenset().union(*streams)
        if len(streams) > 1:
            flow.add(_function_name(func), "function", out, sources)
        else:
            flow.mark(out, sources)
        return out


def _tensors_in(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(found.append, value)
    return found


def _function_name(func: Callable[..., Any]) -> str:
    full = resolve_name(func) or getattr(func, "__name__", "function")
    return full.rpartition(".")[2].strip("_")


def _units(model: nn.Module, depth: int | None, path: str = "") -> dict[nn.Module, str]:
    """Return the modules that are nodes: layers, or whatever stands at the depth asked for."""
    if is_whole(model) or (depth is not None and depth <= 0):
        return {model: path}
    below = None if depth is None else depth - 1
    found: dict[nn.Module, str] = {}
    for name, child in model.named_children():
        for module, place in _units(child, below, f"{path}.{name}" if path else name).items():
            found.setdefault(module, place)
    return found


def trace_model(model: nn.Module, *inputs: Any, depth: int | None = None) -> ModelGraph:
    """Run a model once and return how its layers are connected.

    The model runs in evaluation mode, without gradients; it and the random number generators are
    left as they were.

    Args:
        model: The model.
        *inputs: What it is called with.
        depth: How deep to look into nested modules; `None` goes down to single layers.

    Example:
        >>> from torte.learner.layers import MergeLayer, SequentialEx
        >>> import torch
        >>> block = SequentialEx(nn.Linear(3, 3), nn.ReLU(), MergeLayer())
        >>> graph = trace_model(block, torch.zeros(1, 3))
        >>> [node.kind for node in graph.nodes], graph.edges
        (['input', 'Linear', 'ReLU', 'MergeLayer'], [(0, 1), (1, 2), (0, 3), (2, 3)])
    """
    flow = _Flow()
    for number, value in enumerate(inputs):
        name = "input" if len(inputs) == 1 else f"input {number}"
        flow.add(name, "input", value, frozenset())
    with evaluating(model), flow.hooked(_units(model, depth)), _Watching(flow):
        model(*inputs)
    return flow.graph
