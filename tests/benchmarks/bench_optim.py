"""Optimizer steps over real parameter sets, against PyTorch's fused kernels and pytorch_optimizer.

    python tests/benchmarks/bench_optim.py [small] [resnet50] [vit-b]

All parts, or those that are named; a GPU is used as well if there is one. Budgets: Adam and SGD at
most 1.1 times PyTorch's fused steps, LAMB, RAdam, Lion and a stepper of one's own at most 2 times
its fused AdamW. fastai and pytorch_optimizer are measured where they are installed.
"""

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Sequence

import torch
from common import measure, print_table, versions
from torte import optim

Shapes = Sequence[tuple[int, ...]]

ADAM_AND_SGD = "Adam and SGD"
OTHERS = "others, against torch's fused AdamW"


def resnet50_shapes() -> Shapes:
    """The 161 parameters of ResNet-50: 25.6 million elements."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += [(width, inputs, 1, 1), (width,), (width,)]
            shapes += [(width, width, 3, 3), (width,), (width,)]
            shapes += [(width * 4, width, 1, 1), (width * 4,), (width * 4,)]
            if block == 0:
                shapes += [(width * 4, inputs, 1, 1), (width * 4,), (width * 4,)]
            inputs = width * 4
    return [*shapes, (1000, 2048), (1000,)]


def vit_b_shapes() -> Shapes:
    """The 152 parameters of ViT-B/16: 86.6 million elements."""
    block = [(768,), (768,), (2304, 768), (2304,), (768, 768), (768,)]
    block += [(768,), (768,), (3072, 768), (3072,), (768, 3072), (768,)]
    ends = [(1, 1, 768), (1, 197, 768), (768, 3, 16, 16), (768,), (768,), (768,)]
    return [*ends, *block * 12, (1000, 768), (1000,)]


def own_stepper(p, lr, mom, grad_avg):
    """Five lines as a user would write them: a softened sign of the average."""
    scale = grad_avg.abs() + 1e-3
    update = grad_avg / scale + 0.1 * p.grad
    update = update.clamp(-1, 1)
    p.mul_(1 - lr * 0.01)
    p.sub_(lr * update * mom)


def own(params):
    """An optimizer around `own_stepper`."""
    average = functools.partial(optim.average_grad, dampening=True)
    return optim.Optimizer(params, average, own_stepper, lr=1e-3, mom=0.9)


def parameters(shapes: Shapes, device: str) -> list[torch.nn.Parameter]:
    """Fresh parameters with gradients."""
    made = [torch.nn.Parameter(torch.randn(shape, device=device) * 0.1) for shape in shapes]
    for parameter in made:
        parameter.grad = torch.randn_like(parameter) * 0.1
    return made


def makers() -> dict[str, dict[str, Callable]]:
    """Tables of candidates; the first of each is its reference."""
    adamw = functools.partial(torch.optim.AdamW, lr=1e-3, fused=True)
    sgd = functools.partial(torch.optim.SGD, lr=1e-3, momentum=0.9, fused=True)
    return {
        ADAM_AND_SGD: {
            "torch AdamW fused": adamw,
            "torte Adam": functools.partial(optim.Adam, lr=1e-3),
            "torch SGD fused": sgd,
            "torte SGD": functools.partial(optim.SGD, lr=1e-3, mom=0.9),
            "torte SGD, decoupled decay": functools.partial(optim.SGD, lr=1e-3, mom=0.9, wd=0.01),
        },
        OTHERS: {
            "torch AdamW fused": adamw,
            "torte Lamb": functools.partial(optim.Lamb, lr=1e-3, wd=0.01),
            "torte RAdam": functools.partial(optim.RAdam, lr=1e-3, wd=0.01),
            "torte Lion": functools.partial(optim.Lion, lr=1e-4, wd=0.01),
            "torte Adan": functools.partial(optim.Adan, lr=1e-3),
            "torte own stepper": own,
        },
    }


def peers() -> dict[str, dict[str, Callable]]:
    """What other libraries have of these, for each table; nothing of those that are not there."""
    adamw = functools.partial(torch.optim.AdamW, lr=1e-3)
    found: dict[str, dict[str, Callable]] = {
        ADAM_AND_SGD: {
            "torch AdamW foreach": functools.partial(adamw, foreach=True),
            "torch AdamW loop": functools.partial(adamw, foreach=False),
        },
        OTHERS: {},
    }
    with contextlib.suppress(ImportError):
        from fastai import optimizer as fastai

        found[ADAM_AND_SGD]["fastai Adam"] = functools.partial(fastai.Adam, lr=1e-3)
        found[OTHERS]["fastai Lamb"] = functools.partial(fastai.Lamb, lr=1e-3)
    with contextlib.suppress(ImportError):
        import pytorch_optimizer

        for name in ("Lamb", "Lion", "Adan"):
            make = functools.partial(getattr(pytorch_optimizer, name), lr=1e-3)
            found[OTHERS][f"pytorch_optimizer {name}"] = make
    return found


def bench(title: str, shapes: Shapes, device: str, rounds: int) -> None:
    """Time one table of steps."""
    for name, table in makers().items():
        table.update(peers()[name])
        steps = {}
        for label, make in table.items():
            opt = make(parameters(shapes, device))
            start = time.perf_counter()
            opt.step()
            print(f"  first step of {label}: {time.perf_counter() - start:.2f} s")  # noqa: T201
            steps[label] = functools.partial(_step, opt, device)
        for _ in range(6):  # RAdam's rectified path among others
            for step in steps.values():
                step()
        timings = measure(steps, rounds=rounds, seconds=1e-4)
        print_table(f"{title} on {device}: {name}", timings, next(iter(table)))


def _step(opt: torch.optim.Optimizer, device: str) -> None:
    opt.step()
    if device == "cuda":
        torch.cuda.synchronize()


def bench_small() -> None:
    """What a step costs when there is nothing to compute."""
    shapes = [(10, 10)] * 4
    candidates = {
        "torch SGD": torch.optim.SGD(parameters(shapes, "cpu"), 0.1, momentum=0.9).step,
        "torte SGD": optim.SGD(parameters(shapes, "cpu"), 0.1, mom=0.9).step,
        "torch AdamW fused": torch.optim.AdamW(parameters(shapes, "cpu"), fused=True).step,
        "torte Adam": optim.Adam(parameters(shapes, "cpu"), 0.1).step,
    }
    opt = optim.Adam(parameters(shapes, "cpu"), 0.1)
    candidates["torte set_hypers(lr, mom)"] = functools.partial(opt.set_hypers, lr=0.1, mom=0.9)
    print_table("Four parameters of 100 elements", measure(candidates), "torch SGD")


def main(parts: Sequence[str]) -> None:
    """Print the tables of these parts."""
    found = versions("torch", "pytorch-optimizer", "fastai")
    print(f"{found}, threads {torch.get_num_threads()}")  # noqa: T201
    if "small" in parts:
        bench_small()
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        if "resnet50" in parts:
            bench("ResNet-50", resnet50_shapes(), device, rounds=30)
        if "vit-b" in parts:
            bench("ViT-B", vit_b_shapes(), device, rounds=8)


if __name__ == "__main__":
    main(sys.argv[1:] or ["small", "resnet50", "vit-b"])
