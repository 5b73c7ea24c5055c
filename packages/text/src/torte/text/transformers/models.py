"""Models of Hugging Face: made by task, split into groups of parameters, described as JSON."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

from torte.learner.builders import keep_recipe, model_builder
from torte.text.transformers.batching import Task
from torte.text.transformers.tokenizing import library

__all__ = ["layer_list", "transformers_model", "transformers_split"]

_BUILDER = "torte.text.transformers_model"
_AUTO = {
    Task.SEQUENCE: "AutoModelForSequenceClassification",
    Task.TOKEN: "AutoModelForTokenClassification",
    Task.CAUSAL: "AutoModelForCausalLM",
}


@model_builder(_BUILDER)
def build_transformers_model(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Make a model of `transformers` with random weights from a description in JSON.

    Args:
        architecture: Its class, by name; only classes of the library itself are made.
        config: Entries of its configuration.

    Raises:
        ValueError: The library has no such model.
    """
    transformers = library()
    kind = getattr(transformers, architecture, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise ValueError(
            f"transformers {transformers.__version__} has no model {architecture!r}: "
            "a newer version may have it"
        )
    known: Any = kind
    return known(known.config_class.from_dict(dict(config)))


def transformers_model(
    model: Any,
    task: Task | str = Task.SEQUENCE,
    n_out: int | None = None,
    labels: Sequence[Any] | None = None,
    pad_idx: int | None = None,
) -> Any:
    """Return a model of `transformers` that a Learner can train and export.

    Args:
        model: A name on the Hugging Face hub or a folder (its weights are loaded, in safetensors
            only, and code that comes with them never runs); a configuration (weights are random);
            or a model, which is returned itself.
        task: See `TransformersBlock`.
        n_out: Number of outputs, for the first two.
        labels: Names of the classes, kept in the model's configuration.
        pad_idx: Number of the padding token, set in a configuration that names none.

    Raises:
        OSError: There is no such model, or no network to get it over; a note says what to do.
    """
    if isinstance(model, nn.Module):
        made: Any = model
    else:
        made = _made(model, Task(task), n_out, labels)
    if pad_idx is not None and getattr(made.config, "pad_token_id", None) is None:
        made.config.pad_token_id = pad_idx
    if Task(task) == Task.CAUSAL:
        # The cache is for generating, which asks for it; in training it only costs memory.
        made.config.use_cache = False
    if getattr(library(), type(made).__name__, None) is type(made):
        config = json.loads(made.config.to_json_string(use_diff=True))
        keep_recipe(made, _BUILDER, architecture=type(made).__name__, config=config)
    return made


def _made(model: Any, task: Task, n_out: int | None, labels: Sequence[Any] | None) -> Any:
    auto = getattr(library(), _AUTO[task])
    outputs = {}
    if task != Task.CAUSAL and n_out is not None:
        names = {n: str(label) for n, label in enumerate(labels or range(n_out))}
        outputs = {"num_labels": n_out}
        if len(names) == n_out:
            outputs = {"id2label": names, "label2id": {name: n for n, name in names.items()}}
    if not isinstance(model, str | Path):
        model.update(outputs)
        return auto.from_config(model, trust_remote_code=False)
    try:
        return auto.from_pretrained(
            str(model), trust_remote_code=False, use_safetensors=True, **outputs
        )
    except OSError as error:
        error.add_note(
            "Without a network give the folder of a model (save_pretrained writes one), or a "
            "configuration such as transformers.BertConfig() to begin at random."
        )
        raise


def layer_list(model: nn.Module) -> str | None:
    """Return the name of the list of a model's layers: its `nn.ModuleList` with most parameters."""
    sizes = {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    return max(sizes, key=sizes.__getitem__, default=None)


def transformers_split(model: nn.Module, layers_in_group: int = 1) -> list[list[nn.Parameter]]:
    """Split a model of `transformers` into groups: embeddings, its layers, and the head.

    The first group is what its base model has before its layers, the last one what comes after
    them (final norms, poolers, the head). Weights that are tied belong to the first group that has
    them.

    Args:
        model: The model.
        layers_in_group: How many layers make one group; the first group of them may be smaller.
    """
    base_name = getattr(model, "base_model_prefix", "")
    base = getattr(model, base_name, None) if base_name else None
    if not isinstance(base, nn.Module):
        base, base_name = model, ""
    base_prefix = f"{base_name}." if base_name else ""
    layers = layer_list(base)
    layers_prefix = f"{base_prefix}{layers}."
    before: list[nn.Parameter] = []
    blocks: dict[int, list[nn.Parameter]] = {}
    after: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if layers and name.startswith(layers_prefix):
            number = int(name.removeprefix(layers_prefix).split(".")[0])
            blocks.setdefault(number, []).append(parameter)
        elif not blocks and name.startswith(base_prefix):
            before.append(parameter)
        else:
            after.append(parameter)
    numbers = sorted(blocks)
    first = len(numbers) % layers_in_group or layers_in_group
    cuts = [0, *range(first, len(numbers) + 1, layers_in_group)]
    grouped = [
        [p for number in numbers[start:stop] for p in blocks[number]]
        for start, stop in pairwise(cuts)
    ]
    return [group for group in (before, *grouped, after) if group]
