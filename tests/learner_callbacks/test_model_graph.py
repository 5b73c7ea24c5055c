"""Models as graphs of layers."""

import pytest
import torch
from torch import nn
from torte.learner.layers import MergeLayer, ResBlock, SequentialEx
from torte.learner.model_graph import trace_model


def kinds(graph):
    return [node.kind if node.kind != "function" else node.name for node in graph.nodes]


def test_a_chain_is_a_chain():
    graph = trace_model(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(1, 3))
    assert kinds(graph) == ["input", "Linear", "ReLU"]
    assert graph.edges == [(0, 1), (1, 2)]
    assert [node.shape for node in graph.nodes] == [(1, 3), (1, 4), (1, 4)]
    assert graph.nodes[1].name == "0"


def test_functions_between_layers_carry_the_flow_and_joins_become_nodes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 2)

        def forward(self, x):
            one = self.a(x).relu().view(-1, 4) * 2
            two = self.b(x)
            two += x
            return self.c(torch.cat([one, two], dim=1))

    graph = trace_model(Net(), torch.zeros(2, 4))
    assert kinds(graph) == ["input", "Linear", "Linear", "add", "cat", "Linear"]
    assert set(graph.edges) == {(0, 1), (0, 2), (0, 3), (2, 3), (1, 4), (3, 4), (4, 5)}


def test_residual_blocks_show_both_paths():
    graph = trace_model(ResBlock(1, 4, 8, stride=2), torch.zeros(1, 4, 8, 8))
    add = next(node for node in graph.nodes if node.name == "add")
    sources = [graph.nodes[start].kind for start, end in graph.edges if end == add.number]
    assert sources == ["BatchNorm2d", "BatchNorm2d"]


def test_merge_layers_have_two_inputs():
    block = SequentialEx(nn.Linear(3, 3), nn.ReLU(), MergeLayer())
    graph = trace_model(block, torch.zeros(1, 3))
    assert graph.edges == [(0, 1), (1, 2), (0, 3), (2, 3)]


def test_depth_folds_blocks():
    model = nn.Sequential(ResBlock(1, 4, 8), ResBlock(1, 8, 8), nn.Conv2d(8, 1, 1))
    graph = trace_model(model, torch.zeros(1, 4, 8, 8), depth=1)
    assert kinds(graph) == ["input", "ResBlock", "ResBlock", "Conv2d"]


def test_a_layer_called_twice_is_two_nodes():
    shared = nn.Linear(3, 3)
    graph = trace_model(nn.Sequential(shared, shared), torch.zeros(1, 3))
    assert kinds(graph) == ["input", "Linear", "Linear"]
    assert graph.depths() == {0: 0, 1: 1, 2: 2}


def test_several_inputs_are_several_nodes():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.join = nn.Bilinear(2, 3, 1)

        def forward(self, a, b):
            return self.join(a, b)

    graph = trace_model(Two(), torch.zeros(1, 2), torch.zeros(1, 3))
    assert [node.name for node in graph.nodes] == ["input 0", "input 1", "join"]
    assert graph.edges == [(0, 2), (1, 2)]


def test_nothing_is_left_behind():
    model = ResBlock(1, 4, 8).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    trace_model(model, torch.randn(2, 4, 8, 8))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(m.training and not m._forward_hooks for m in model.modules())
    with pytest.raises(RuntimeError, match="expected input"):
        trace_model(model, torch.randn(2, 5, 8, 8))
    assert all(m.training and not m._forward_hooks for m in model.modules())


def test_no_two_nodes_are_drawn_in_one_place():
    graph = trace_model(ResBlock(4, 4, 8, stride=2, reduction=4), torch.zeros(1, 16, 8, 8))
    places = graph.positions()
    for a in places:
        for b in places:
            if a < b and places[a][1] == places[b][1]:
                assert abs(places[a][0] - places[b][0]) >= 0.999
    for start, end in graph.edges:
        assert places[start][1] < places[end][1]


def test_drawings_name_every_node():
    graph = trace_model(ResBlock(1, 4, 8), torch.zeros(1, 4, 8, 8))
    texts = "\n".join(text.get_text() for text in graph.draw().texts)
    assert all(node.kind in texts or node.name in texts for node in graph.nodes)
    dot = graph.to_dot()
    assert dot.count("->") == len(graph.edges)
    assert dot.count("label=") == len(graph.nodes)
