"""The parts of training: the task's loss, distillation, moving averages, meters, and the processor's set-up."""

from __future__ import annotations

import copy
import os
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from nasforge.errors import UsageError
from nasforge.tasks import Task
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.training import EMATwin, TrainConfig, soft_cross_entropy, train
from nasforge.training.processor import pin_malloc, prepare_processor

LOGITS = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
TARGETS = torch.arange(16) % 5


# The task


def test_the_loss_is_the_smoothed_cross_entropy_by_hand() -> None:
    share = torch.full((16, 5), 0.1 / 5, dtype=torch.float64)
    share[torch.arange(16), TARGETS] += 0.9
    expected = -(share * torch.log_softmax(LOGITS, 1)).sum(1).mean()
    assert float(Classification().loss(LOGITS, TARGETS, 0.1)) == pytest.approx(float(expected), abs=1e-12)
    assert Classification().loss(LOGITS, TARGETS) == pytest.approx(float(functional.cross_entropy(LOGITS, TARGETS)))


def test_several_heads_learn_by_the_mean_of_their_losses_and_are_judged_by_their_mean() -> None:
    task = Classification()
    alone = [float(task.loss(head, TARGETS)) for head in (LOGITS, OTHER)]
    assert float(task.loss([LOGITS, OTHER], TARGETS)) == pytest.approx(sum(alone) / 2)
    assert float(task.loss([LOGITS], TARGETS)) == alone[0]
    assert task.metrics([LOGITS, OTHER], TARGETS) == pytest.approx(task.metrics((LOGITS + OTHER) / 2, TARGETS))
    assert task.metrics([LOGITS, OTHER], TARGETS) != task.metrics(LOGITS, TARGETS)


def test_metrics_are_accuracy_and_negative_log_likelihood() -> None:
    found = Classification().metrics(torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1, 0]))
    assert found["accuracy"] == pytest.approx(1 / 3)
    soft = [1 / (1 + 2.718281828**-2), 0.5, 1 / (1 + 2.718281828**2)]
    assert found["nll"] == pytest.approx(-sum(torch.log(torch.tensor(soft))).item() / 3, abs=1e-6)


def test_classification_is_a_task() -> None:
    task: Task = Classification()
    assert task.name == "classification"


# Distillation


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_cross_entropy_is_torchs_divergence_plus_the_teachers_entropy(temperature: float) -> None:
    student = LOGITS.clone().requires_grad_()
    teacher = torch.softmax(OTHER / temperature, 1)
    divergence = functional.kl_div(torch.log_softmax(student / temperature, 1), teacher, reduction="batchmean")
    entropy = -(teacher * teacher.log()).sum(1).mean()
    found = soft_cross_entropy(student, OTHER, temperature)
    assert float(found.detach()) == pytest.approx(float((divergence + entropy).detach()), abs=1e-12)
    (expected,) = torch.autograd.grad(divergence, student, retain_graph=True)
    (gradient,) = torch.autograd.grad(found, student)
    assert torch.allclose(gradient, expected, atol=1e-14)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = LOGITS.clone().requires_grad_(), OTHER.clone().requires_grad_()
    soft_cross_entropy(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_a_student_that_agrees_has_no_gradient() -> None:
    student = OTHER.clone().requires_grad_()
    soft_cross_entropy(student, OTHER).backward()
    assert student.grad.abs().max() < 1e-15


# Moving average


def test_the_twin_is_the_exponential_average_of_what_it_followed() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    twin = EMATwin(module, 0.9)
    expected = {name: p.detach().clone() for name, p in module.named_parameters()}
    for step in range(5):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.full_like(p, float(step)))
            module[1].running_mean.fill_(step)
        twin.update(module)
        for name, p in module.named_parameters():
            expected[name] = 0.9 * expected[name] + 0.1 * p.detach()
    for name, p in twin.module.named_parameters():
        assert torch.allclose(p, expected[name])
        assert not p.requires_grad
    assert twin.module[1].running_mean.tolist() == [4.0, 4.0]  # type: ignore[index]


def test_the_twin_shares_no_memory_with_its_module() -> None:
    module = nn.Linear(3, 2)
    twin = EMATwin(module, 0.5)
    kept = copy.deepcopy(twin.module.state_dict())
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(twin.module.weight, kept["weight"])
    assert module.weight.requires_grad


# Processor


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of threads that torch is asked for; the environment says nothing."""
    numbers: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    for name in ("OMP_NUM_THREADS", "NASFORGE_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return numbers


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [1]),
        ({"OMP_NUM_THREADS": "2"}, []),  # torch has read it when it was imported
        ({"NASFORGE_THREADS": "2"}, [2]),
        ({"NASFORGE_THREADS": "3", "OMP_NUM_THREADS": "2"}, [3]),
        ({"NASFORGE_THREADS": "", "OMP_NUM_THREADS": "2"}, []),
    ],
)
def test_training_takes_one_thread_unless_the_environment_says_otherwise(
    asked: list[int], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[int]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert prepare_processor.__wrapped__() == torch.get_num_threads()
    assert asked == expected


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5", "²"])
def test_threads_that_are_no_number_are_refused(asked: list[int], monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("NASFORGE_THREADS", given)
    with pytest.raises(UsageError, match="NASFORGE_THREADS is"):
        prepare_processor.__wrapped__()
    assert asked == []


def test_pinning_malloc_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASFORGE_PIN_MALLOC", "0")
    assert pin_malloc.__wrapped__() is False
    monkeypatch.delenv("NASFORGE_PIN_MALLOC")
    assert pin_malloc.__wrapped__() is (sys.platform == "linux" and "CS_GNU_LIBC_VERSION" in os.confstr_names)


def test_training_prepares_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr("nasforge.training.loop.prepare_processor", lambda: called.append(1))
    train(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), load(limit=60), Classification(), TrainConfig(epochs=0.1))
    assert called == [1]
