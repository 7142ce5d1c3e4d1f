"""Teachers: the mean of their probabilities is what a student follows, and they stay exactly as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from nasforge.errors import UsageError
from nasforge.rng import generator
from nasforge.tasks import DataSource, Loader, Split
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.training import (
    Teachers,
    TrainConfig,
    Training,
    adaptive_alpha_divergence,
    soft_cross_entropy,
    soft_targets,
    train,
)

TASK = Classification()
CONFIG = TrainConfig(epochs=1, batch_size=32, cutout=2)
ONE_STEP = dataclasses.replace(CONFIG, epochs=0.01)


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load(limit=200)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
        )


class Fixed(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


def test_probabilities_are_averaged_and_not_logits() -> None:
    found = Teachers([Fixed(0.0, 10.0), Fixed(0.0, -1.0)])(torch.zeros(3, 1))
    assert found.shape == (3, 2)
    expected = (torch.softmax(torch.tensor([0.0, 10.0]), 0) + torch.softmax(torch.tensor([0.0, -1.0]), 0)) / 2
    torch.testing.assert_close(found[0], expected)
    of_logits = torch.softmax(torch.tensor([0.0, 4.5]), 0)
    assert float((expected - of_logits).abs().max()) > 0.2


def test_several_heads_count_as_one_teacher_by_their_mean() -> None:
    class Heads(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [torch.zeros(len(x), 2), torch.full((len(x), 2), 4.0) * torch.tensor([0.0, 1.0])]

    torch.testing.assert_close(Teachers([Heads()])(torch.zeros(1, 1))[0], torch.softmax(torch.tensor([0.0, 2.0]), 0))


def test_nobody_to_follow_is_refused() -> None:
    with pytest.raises(UsageError, match="no teacher"):
        Teachers([])


def test_the_loss_is_the_divergence_plus_the_entropy_of_the_mean(source: DataSource) -> None:
    teachers = Teachers([network(1), network(2)])
    images, _ = Loader(source, "train", 32, 5, training=True, cutout=2).batch(0)
    mean, logits = teachers(images), network()(images).detach()
    divergence = functional.kl_div(functional.log_softmax(logits, 1), mean, reduction="batchmean")
    entropy = -(mean * mean.log()).sum(dim=1).mean()
    report = train(network(), source, TASK, ONE_STEP, seed=5, teacher=teachers)
    assert report.loss == pytest.approx(float(divergence + entropy), rel=1e-6)


def test_one_teacher_is_the_cross_entropy_against_its_softmax(source: DataSource) -> None:
    teacher = network(1)
    images, _ = Loader(source, "train", 32, 5, training=True, cutout=2).batch(0)
    report = train(network(), source, TASK, ONE_STEP, seed=5, teacher=Teachers([teacher]))
    expected = soft_cross_entropy(network()(images).detach(), teacher.eval()(images))
    assert report.loss == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_targets_are_the_mixed_losses(source: DataSource, share: float) -> None:
    teachers = Teachers([network(1)])
    images, labels = Loader(source, "train", 32, 5, training=True, cutout=2).batch(0)
    logits = network()(images).detach()
    soft, hard = (functional.cross_entropy(logits, target) for target in (teachers(images), labels))
    config = dataclasses.replace(ONE_STEP, hard_weight=share)
    report = train(network(), source, TASK, config, seed=5, teacher=teachers)
    assert report.loss == pytest.approx(float((1 - share) * soft + share * hard), rel=1e-5)
    targets = soft_targets(teachers(images), labels, share)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(32))


def test_labels_have_no_say_where_teachers_are_followed(source: DataSource) -> None:
    split = source.split("train")
    shuffled = Split(split.images, split.labels[torch.from_numpy(generator(1, "labels").permutation(len(split)))])
    assert not torch.equal(split.labels, shuffled.labels)
    other = dataclasses.replace(source, splits={**source.splits, "train": shuffled})
    ends = []
    for each in (source, other):
        student = network()
        train(student, each, TASK, CONFIG, teacher=Teachers([network(1)]))
        ends.append(student.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_teachers_are_the_same_after_an_epoch_whatever_mode_they_were_in(source: DataSource) -> None:
    modules = [network(1), network(2).eval()]
    before = [{name: value.clone() for name, value in module.state_dict().items()} for module in modules]
    student = network()
    student.teachers = Teachers(modules)  # type: ignore[assignment]  # train() of the student does not reach them
    train(student, source, TASK, CONFIG, teacher=student.teachers)  # type: ignore[arg-type]
    for module, state in zip(modules, before, strict=True):
        assert not module.training
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
        assert all(p.grad is None for p in module.parameters())


def test_teachers_see_the_very_crop_of_the_student(source: DataSource) -> None:
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}
    student, teacher = network(), network(1)
    student.register_forward_pre_hook(lambda _, inputs: seen["student"].append(inputs[0].clone()))
    teacher.register_forward_pre_hook(lambda _, inputs: seen["teacher"].append(inputs[0].clone()))
    train(student, source, TASK, CONFIG, teacher=Teachers([teacher]))
    assert len(seen["student"]) == len(seen["teacher"]) == 5
    assert all(torch.equal(a, b) for a, b in zip(seen["student"], seen["teacher"], strict=True))


def test_smoothed_labels_with_a_teacher_are_refused(source: DataSource) -> None:
    with pytest.raises(UsageError, match="label_smoothing"):
        Training(network(), source, TASK, dataclasses.replace(CONFIG, label_smoothing=0.1), teacher=Teachers([Fixed()]))


def test_a_student_comes_nearer_to_its_teacher(source: DataSource) -> None:
    teacher = network(1)
    train(teacher, source, TASK, dataclasses.replace(CONFIG, epochs=8))
    images, _ = Loader(source, "valid", 40).batch(0)
    wanted = Teachers([teacher])(images)
    student = network()
    before = float(functional.cross_entropy(student.eval()(images), wanted).detach())
    train(student, source, TASK, dataclasses.replace(CONFIG, epochs=6), teacher=Teachers([teacher]))
    assert float(functional.cross_entropy(student.eval()(images), wanted).detach()) < 0.7 * before


def divergence(p, q, alpha):
    if alpha == 1.0:
        return (p * (p / q).log()).sum(1)
    if alpha == 0.0:
        return (q * (q / p).log()).sum(1)
    return ((q * (p / q) ** alpha).sum(1) - 1.0) / (alpha * (alpha - 1.0))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-1.0, 2.0), (0.0, 1.0), (-0.5, 0.5)])
def test_without_clipping_the_alpha_divergence_and_its_gradient_are_the_larger_of_the_two(low, high):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(16, 5, generator=draw, dtype=torch.float64)
    found = adaptive_alpha_divergence(logits, teacher, low, high, clip=1e9)
    (gradient,) = torch.autograd.grad(found, logits)
    p, q = torch.softmax(teacher, 1), torch.softmax(logits, 1)
    both = torch.stack([divergence(p, q, low), divergence(p, q, high)])
    assert len(set(both.argmax(0).tolist())) == 2  # both sides are met
    expected = both.amax(0).mean()
    (slope,) = torch.autograd.grad(expected, logits)
    assert torch.allclose(found, expected)
    assert torch.allclose(gradient, slope)


def test_the_alpha_divergence_of_equals_is_zero_and_the_teacher_gets_no_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    teacher = logits.detach().clone().requires_grad_()
    loss = adaptive_alpha_divergence(logits, teacher)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(logits.grad.abs().max()) < 1e-6
    assert teacher.grad is None


def test_clipping_bounds_the_gradient_of_a_student_that_is_sure_of_what_the_teacher_excludes():
    teacher = torch.tensor([[0.0, 20.0]])
    gradients = []
    for clip in (5.0, 1e9):
        logits = torch.tensor([[10.0, 0.0]], requires_grad=True)
        adaptive_alpha_divergence(logits, teacher, clip=clip).backward()
        gradients.append(float(logits.grad.abs().max()))
    assert gradients[0] <= 5.0 < gradients[1]
