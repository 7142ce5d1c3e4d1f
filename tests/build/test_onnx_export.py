import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from nasforge.build import Supernet, export_onnx, extract
from nasforge.build.onnx_export import metadata_of
from nasforge.errors import EvaluationError
from nasforge.ops import Add, Conv, GlobalPool, Linear, MBConv
from nasforge.space import Input, SearchSpace
from nasforge.testing.spaces import scrambled


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def network(outputs):
    space = SearchSpace(outputs)
    return extract(scrambled(Supernet(space)), space.largest())


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def close(found, expected):
    expected = expected.detach().numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def single():
    x = MBConv(6, 3, 2, se=0.5, act="hswish")(Conv(4, 3, act="relu6")(Input(3, 8, 8), name="stem"), name="mb")
    return network({"logits": Linear(3, dropout=0.5)(GlobalPool()(x), name="head")})


def test_the_file_gives_the_networks_outputs_for_any_batch_with_its_texts(tmp_path):
    net = single().train()
    path = export_onnx(net, (3, 8, 8), tmp_path / "net.onnx", {"classes": '["a"]', "producer": "nasforge"})
    assert net.training
    assert all(module.training for module in net.modules())
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    assert [(entry.domain, entry.version) for entry in model.opset_import if not entry.domain] == [("", 18)]
    assert {node.op_type for node in model.graph.node}.isdisjoint({"BatchNormalization", "ReduceMean", "Dropout"})
    assert metadata_of(path) == {"classes": '["a"]', "producer": "nasforge"}
    run = session(path)
    assert [i.name for i in run.get_inputs()] == ["image"]
    assert [o.name for o in run.get_outputs()] == ["logits"]
    for count in (1, 2, 7):
        x = drawn(count, 3, 8, 8)
        (found,) = run.run(None, {"image": x.numpy()})
        close(found, net.eval()(x))


def test_several_heads_become_their_mean_in_the_file(tmp_path):
    x = Conv(4, 3)(Input(3, 8, 8), name="stem")
    heads = [Linear(3)(GlobalPool()(Conv(4, 1)(x, name=f"c{i}")), name=f"h{i}") for i in range(3)]
    net = network({"logits": heads}).train()
    path = export_onnx(net, (3, 8, 8), tmp_path / "net.onnx")
    run, x = session(path), drawn(4, 3, 8, 8)
    assert len(run.get_outputs()) == 1
    (found,) = run.run(None, {"image": x.numpy()})
    parts = []
    hooks = [
        net.module_of(place).register_forward_hook(lambda _m, _i, out: parts.append(out))
        for place, step in enumerate(net.plan.steps)
        if step.weights.startswith("h")
    ]
    net.eval()(x)
    for hook in hooks:
        hook.remove()
    assert len(parts) == 3
    close(found, torch.stack(parts).mean(0))


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    left, right = Input(3, 8, 8, name="left"), Input(1, 8, 8, name="right")
    x = Add()(Conv(4, 3)(left, name="l"), Conv(4, 3)(right, name="r"))
    net = network(
        {"a": Linear(3)(GlobalPool()(x, name="pa"), name="ha"), "b": Linear(2)(GlobalPool()(x, name="pb"), name="hb")}
    ).eval()
    path = export_onnx(net, {"left": (3, 8, 8), "right": (1, 8, 8)}, tmp_path / "net.onnx", outputs=("a", "b"))
    run = session(path)
    given = {"left": drawn(5, 3, 8, 8), "right": drawn(5, 1, 8, 8)}
    found = run.run(["b", "a"], {name: value.numpy() for name, value in given.items()})
    expected = net(given)
    close(found[0], expected["b"])
    close(found[1], expected["a"])


class Unexportable(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_a_module_that_cannot_be_exported_is_an_evaluation_error_and_keeps_its_mode(tmp_path):
    module = Unexportable().train()
    with pytest.raises(EvaluationError, match="cannot be exported to ONNX"):
        export_onnx(module, (3, 8, 8), tmp_path / "net.onnx")
    assert module.training
