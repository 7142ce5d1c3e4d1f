"""BossNAS: the step by hand, what the twin may and may not do, ratings without labels, limits, collapse."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasforge import registry
from nasforge.errors import DivergedError, UsageError
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.batches import BatchStream
from nasforge.run.pace import Pace
from nasforge.run.progress import Silent
from nasforge.run.shared_training import SharedTraining, StepContext
from nasforge.strategy import Problem
from nasforge.strategy.blocks import search as block_search
from nasforge.strategy.blocks.rating import Side, centre_distance
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.testing.small_spaces import block_space
from nasforge.testing.trial import Trial, source
from nasforge.training.bootstrap import Lift

pytestmark = pytest.mark.plugins
bossnas = pytest.importorskip("nasforge_strategies.bossnas")
SMALL = {"images": 32, "calibration": 32, "hidden": 16, "outputs": 8}


def make(problem=None, steps=8, data=None, seed=1, batch=16, **options):
    trial = Trial("bossnas", {**SMALL, **options}, block_space(), 8, steps)
    strategy, given = trial.make(), problem or trial.problem()
    strategy.setup(given)
    data = data or source()
    streams = (
        BatchStream(Loader(data, "train", batch, seed, training=True)),
        BatchStream(Loader(data, "valid", batch, seed, shuffle=True)),
    )
    pace = Pace([phase.share for phase in strategy.phases()], steps, None)
    training = SharedTraining(strategy, given, Classification(), *streams, pace, seed)
    for module in training.modules.values():
        module.train()
    return strategy, training


def run(training):
    training.run(Silent(), lambda kind, state: None)


class Context:
    """A context of its own: the same pairs of views in every step, and gradients kept instead of a step."""

    phase_step = 0

    def __init__(self, strategy, number, seed=0, images=16, progress=0.0):
        self.progress, self.phase = progress, strategy.phases()[2 * number]
        self.rng = np.random.default_rng(seed)
        self.views = list(torch.randn(6, images, 3, 8, 8, generator=torch.Generator().manual_seed(3)))
        self.updated = []

    def train_views(self, makers):
        return self.views[: len(makers)]

    def backward(self, loss):
        loss.backward()

    def update(self, name, rate=1.0):
        self.updated.append(name)


def gradients(module, supernet=None):
    """Return the gradients of a module by name; slices recorded by a supernet are put in their places first."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def embed(side, x, path, number, block):
    mapped = side.supernet.run(x, path, start=block.start, stop=block.name)
    return side.projectors[number](mapped)


@pytest.mark.parametrize("pairs", ["one", "each"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_step_has_the_gradients_of_the_losses_written_out(number, pairs):
    strategy, _ = make(paths=3, pairs=pairs)
    context = Context(strategy, number, seed=5)
    drawn = strategy._drawn(number, np.random.default_rng(5))
    block, online, target = strategy.cut[number], strategy._online, strategy._target

    def inputs(side, path_number, view):
        x = context.views[view if pairs == "one" else 2 * path_number + view]
        with torch.no_grad():
            return x if number == 0 else side.supernet.run(x, drawn[0], stop="b0")

    with torch.no_grad():
        unit = [
            [
                functional.normalize(embed(target, inputs(target, p, view), path, number, block), dim=1)
                for p, path in enumerate(drawn)
            ]
            for view in range(2)
        ]
        centres = [sum(members) / 3 for members in unit]
    for p, path in enumerate(drawn):
        one, two = (
            strategy._predictors[number](embed(online, inputs(online, p, view), path, number, block))
            for view in range(2)
        )
        cosine = functional.cosine_similarity
        loss = -2 * cosine(one, centres[1], dim=1).mean() - 2 * cosine(two, centres[0], dim=1).mean()
        loss.backward()
    expected = gradients(online.supernet)
    online.supernet.zero_grad(set_to_none=True)
    strategy.step(context)
    found = gradients(online.supernet)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert context.updated == ["weights"]


def test_the_target_runs_the_same_paths_has_no_gradient_and_no_predictor(monkeypatch):
    strategy, training = make(paths=3)
    seen = {"online": [], "target": []}
    sides = {id(strategy._online): "online", id(strategy._target): "target"}
    plain = Side.embed

    def spy(self, features, path, block, number):
        found = plain(self, features, path, block, number)
        seen[sides[id(self)]].append((path, found.requires_grad))
        return found

    monkeypatch.setattr(Side, "embed", spy)
    strategy.step(Context(strategy, 0))
    assert [path for path, _ in seen["online"]] == [path for path, _ in seen["target"]]
    assert len({path for path, _ in seen["online"]}) == 3
    assert all(graph for _, graph in seen["online"])
    assert not any(graph for _, graph in seen["target"])
    for name in ("target", "target_lifts", "target_projectors"):
        assert not any(p.requires_grad or p.grad is not None for p in training.modules[name].parameters())
    kept = {tuple(p.shape) for p in training.modules["target_projectors"].parameters()}
    assert kept == {tuple(p.shape) for p in training.modules["projectors"].parameters()}
    assert "target_predictors" not in training.modules


@pytest.mark.parametrize(("progress", "decay"), [(0.0, 0.9), (0.5, 0.95), (0.75, 1 - 0.1 * (1 - math.sqrt(0.5)) / 2)])
def test_the_twin_follows_parameters_slower_and_slower_and_fills_its_own_buffers(progress, decay):
    strategy, training = make(momentum=0.9)
    online, target = training.modules["supernet"], training.modules["target"]
    with torch.no_grad():
        for parameter in online.parameters():
            parameter += 1.0
    before = {name: p.clone() for name, p in target.named_parameters()}
    strategy.step(Context(strategy, 0, progress=progress))
    for (name, mine), theirs in zip(target.named_parameters(), online.parameters(), strict=True):
        assert torch.allclose(mine, torch.lerp(before[name], theirs, 1 - decay), atol=1e-6)
    stem = next(name for name, _ in online.named_buffers() if "stem" in name and name.endswith("running_mean"))
    assert target.get_buffer(stem).abs().sum() > 0
    assert not torch.equal(target.get_buffer(stem), online.get_buffer(stem))


def test_block_by_block_gives_what_the_whole_network_gives():
    strategy, _ = make()
    x = torch.randn(4, 3, 8, 8)
    for side in (strategy._online, strategy._target):
        side.supernet.eval()
        for seed in range(3):
            path = strategy.problem.space.sample(generator(seed, "paths"))
            value = x
            for start, stop in ((None, "b0"), ("b0", "b1"), ("b1", None)):
                value = side.supernet.run(value, path, start=start, stop=stop)
            assert torch.equal(value, side.supernet(x, path))


def test_what_no_path_used_stays_exactly_as_it_was():
    strategy, training = make(paths=1, steps=4)  # the first step of a block has a rate of 0
    before = {name: value.clone() for name, value in training.modules["supernet"].state_dict().items()}
    drawn = []
    plain = strategy._drawn
    strategy._drawn = lambda number, rng: drawn.extend(found := plain(number, rng)) or found
    run(training)
    space = strategy.problem.space
    used = {step.weights for path in drawn for step in space.lower(path).steps}
    unused = {step.weights for path in space.enumerate() for step in space.lower(path).steps} - used
    starts = tuple(f"layers.{str(key).replace('.', '/')}:" for key in unused)
    kept = {n: p for n, p in training.modules["supernet"].named_parameters() if n.startswith(starts)}
    assert len(kept) >= 4 * 3, "weights of four layers' operators that no path took"
    assert all(torch.equal(value, before[name]) for name, value in kept.items())
    trained = [n for n, p in training.modules["supernet"].named_parameters() if not torch.equal(p, before[n])]
    assert trained


def test_a_block_begins_without_momentum_of_the_block_before():
    strategy, training = make(steps=6)
    held = {}
    plain = strategy._train

    def noted(context, number):
        held.setdefault(number, []).append(len(training.optimisers["weights"].state))
        return plain(context, number)

    strategy._train = noted
    run(training)
    for counts in held.values():
        assert counts[0] == 0
        assert all(counts[1:])
    assert len(held) == 2


def test_paths_are_rated_on_held_out_images_and_calibrated_on_training_images(monkeypatch):
    taken = {"train": [], "valid": []}
    for split in taken:
        plain = getattr(StepContext, f"{split}_views")

        def spy(self, makers, plain=plain, split=split):
            views = plain(self, makers)
            if self.phase.name.startswith("rating"):
                taken[split].append(torch.stack(views))
            return views

        monkeypatch.setattr(StepContext, f"{split}_views", spy)
    strategy, training = make()
    run(training)
    held_out, trained = torch.cat(taken["valid"], 1)[:, :32], torch.cat([each.flatten(0, 1) for each in taken["train"]])
    step = (held_out.max() - held_out.min()) / 255
    assert torch.allclose(strategy.record.views.read(), held_out.flatten(0, 1), atol=float(step))
    assert torch.allclose(strategy.record.calibration.read(), trained[:32], atol=float(step))
    assert sum(each.shape[1] for each in taken["valid"]) <= 32 + 16, "taken once for all blocks"


@pytest.mark.parametrize("detach", [True, False])
def test_later_blocks_leave_earlier_ones_alone_unless_asked(detach):
    strategy, training = make(steps=12, detach_prefix=detach)
    kept = []
    plain = strategy.start_phase

    def noted(phase, modules):
        plain(phase, modules)
        if phase.name == "block b1":
            kept.extend(p.clone() for n, p in modules["supernet"].named_parameters() if "b0" in n or "stem" in n)

    strategy.start_phase = noted
    run(training)
    after = [p for n, p in training.modules["supernet"].named_parameters() if "b0" in n or "stem" in n]
    assert all(map(torch.equal, kept, after)) == detach


def permuted(data):
    """Return the images with labels that say nothing."""
    rng = np.random.default_rng(0)
    splits = {
        name: dataclasses.replace(split, labels=split.labels[torch.from_numpy(rng.permutation(len(split)))])
        for name, split in data.splits.items()
    }
    return dataclasses.replace(data, splits=splits)


def test_labels_play_no_part():
    found = []
    for data in (source(), permuted(source())):
        strategy, training = make(data=data)
        run(training)
        every = list(strategy.problem.space.enumerate())
        found.append((strategy.derive(), strategy.rate(every, training.modules)))
    assert found[0] == found[1]


def test_less_distance_is_better_and_the_best_is_the_least_sum_within_the_limits():
    strategy, training = make()
    run(training)
    every = list(strategy.problem.space.enumerate())
    distances = [found["centre_distance"] for found in strategy.rate(every, training.modules)]
    assert all(0 <= each <= 8 * len(strategy.cut) for each in distances)
    order = np.argsort(distances, kind="stable")
    assert distances[order[0]] == pytest.approx(strategy.rate(strategy.derive()[:1], {})[0]["centre_distance"])
    assert strategy.rates_by.direction == "minimize"
    bound = float(np.quantile([strategy.problem.space.macs(each) for each in every], 0.4))
    costs = strategy.problem.costs
    strategy.problem = dataclasses.replace(strategy.problem, constraints=(Constraint("macs", bound),), costs=costs)
    best = next(every[place] for place in order if strategy.problem.space.macs(every[place]) <= bound)
    assert strategy.derive()[0] == best
    prefix = strategy.record.prefix(1)
    scores = strategy.record.scores(0)
    assert tuple(prefix.values()) == min(scores, key=scores.get)


def test_limits_that_no_rated_combination_meets_leave_the_best_of_rated_samples(monkeypatch):
    space = registry.load("spaces", "hytra")((3, 8, 8), 10)
    strategy, training = make(problem=Problem(space, costs={"macs": space.cost("macs")}), steps=6, on_collapse="ignore")
    plain = bossnas.traverse

    def dearest_first(rating, paths, compare, mean):
        return dataclasses.replace(plain(rating, paths, compare, mean), scores=[-space.macs(p) / 1e9 for p in paths])

    monkeypatch.setattr(bossnas, "traverse", dearest_first)
    monkeypatch.setattr(bossnas, "SAMPLED", 5)
    run(training)  # the dearest first block is the best: one that stays at the finest scale
    each = [{block.path(path) for path in strategy.record.rated(n)[0]} for n, block in enumerate(strategy.cut)]
    macs = {
        architecture: space.macs(architecture)
        for architecture in space.enumerate()
        if all(block.path(architecture) in paths for block, paths in zip(strategy.cut, each, strict=True))
    }
    below = [m for a in space.enumerate() if (m := space.macs(a)) < min(macs.values())]
    assert below, "the best first block leaves the coarsest scale to all that is rated behind it"
    bound = max(below)
    strategy.problem = dataclasses.replace(strategy.problem, constraints=(Constraint("macs", bound),))
    with pytest.warns(RuntimeWarning, match="no combination of the paths that bossnas rated is within the limits"):
        found = strategy.derive()
    distances = [each["centre_distance"] for each in strategy.rate(found, training.modules)]
    assert distances == sorted(distances)
    assert all(space.macs(architecture) <= bound for architecture in found)
    rng = generator(0, "within the limits")
    drawn = [strategy.problem.sample(rng) for _ in range(bossnas.SAMPLED)]
    assert distances[0] == min(each["centre_distance"] for each in strategy.rate(drawn, training.modules))


def test_predictions_at_the_centre_score_least():
    centres = torch.randn(2, 5, 4)
    assert centre_distance(centres.flip(0), centres) == pytest.approx(-4.0)
    assert centre_distance(-centres.flip(0), centres) == pytest.approx(4.0)


def test_scores_are_of_the_centre_of_all_paths_and_do_not_depend_on_old_statistics():
    strategy, training = make()
    run(training)
    generator_of_noise = torch.Generator().manual_seed(0)
    for module in training.modules.values():
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape, generator=generator_of_noise))
    number, block = 1, strategy.cut[1]  # behind the last block nothing moves any more
    rating, scores = strategy.rating(number), strategy.record.scores(number)
    paths = [strategy.paths_behind.of(number).at(path) for path in itertools.product(range(3), repeat=2)]
    centres = torch.stack([rating.targets(path) for path in paths]).mean(dim=0)
    assert torch.allclose(centres, strategy.record.centres(number), atol=1e-4)
    for path in paths:
        found = centre_distance(rating.predictions(path), centres)
        assert found == pytest.approx(scores[block.path(path)], abs=1e-4)


def distances_now(strategy, number):
    """Return by path the distances of predictions to the centre and to the path's own targets, as things stand."""
    rating, block = strategy.rating(number), strategy.cut[number]
    paths = strategy.record.rated(number)[0]
    targets = {path: rating.targets(path) for path in paths}
    centres = torch.stack(list(targets.values())).mean(dim=0)
    return {
        block.path(p): (centre_distance(rating.predictions(p), centres), centre_distance(rating.predictions(p), t))
        for p, t in targets.items()
    }


@pytest.mark.parametrize(("rated_by", "kept_bytes"), [("centre", 0), ("centre", 1 << 28), ("own", 1 << 28)])
def test_both_distances_are_recorded_as_they_were_at_the_rating_and_the_one_asked_for_counts(
    rated_by, kept_bytes, monkeypatch
):
    monkeypatch.setattr(block_search, "KEPT_BYTES", kept_bytes)
    strategy, training = make(rated_by=rated_by, lr=0.2, momentum=0.5, on_collapse="ignore")
    then = {}
    plain = strategy._rate_block

    def noted(context, number):
        found = plain(context, number)
        then[number] = distances_now(strategy, number)
        return found

    strategy._rate_block = noted
    run(training)
    for number in range(2):
        scores, own = strategy.record.scores(number), strategy.record.own_scores(number)
        assert scores.keys() == own.keys() == then[number].keys()
        for path, (to_centre, to_own) in then[number].items():
            assert own[path] == pytest.approx(to_own, abs=1e-4)
            assert scores[path] == pytest.approx(to_centre if rated_by == "centre" else to_own, abs=1e-4)
            assert abs(to_centre - to_own) > 1e-4
    drifted = {path: own for path, (_, own) in distances_now(strategy, 0).items()}
    assert any(abs(drifted[path] - own) > 1e-3 for path, own in strategy.record.own_scores(0).items())


def test_large_blocks_are_evolved_and_every_path_can_be_rated():
    strategy, training = make(traversed=4, population=4, generations=2)
    run(training)
    every = list(strategy.problem.space.enumerate())
    rated, _ = strategy.record.rated(0)
    assert 4 <= len(rated) < 9
    own = strategy.record.own_scores(0)
    assert own.keys() == strategy.record.scores(0).keys()
    assert all(-4 <= each <= 4 for each in own.values())
    found = strategy.rate(every, training.modules)
    assert all(math.isfinite(each["centre_distance"]) for each in found)


def test_training_and_rating_are_counted_apart():
    strategy, training = make(paths=2, steps=6)
    run(training)
    blocks, rated, images = len(strategy.cut), 9, SMALL["images"]
    cost = training.meter.training
    assert cost.backward == 2 * 2 * 6  # each path in two views
    assert cost.batches == 6
    assert cost.views == 2 * cost.drawn == 2 * 6 * 16
    rating = training.meter.rating
    assert rating.backward == rating.steps == 0
    assert rating.views == 2 * rating.drawn
    assert rating.drawn >= images + SMALL["calibration"] / 2
    assert rating.forward >= 2 * 2 * blocks * rated  # both sides of each path: calibration, and the views


def test_ratings_before_the_training_are_no_numbers():
    strategy, training = make()
    assert math.isnan(strategy.rate([strategy.problem.space.smallest()], training.modules)[0]["centre_distance"])


def test_small_batches_are_refused_in_a_sentence():
    _, training = make(batch=8)
    with pytest.raises(UsageError, match=r"batches of 8 images, too few .* raise training\.batch_size"):
        run(training)


@pytest.mark.parametrize("on_collapse", ["warn", "error"])
def test_collapse_is_reported(on_collapse):
    strategy, training = make(on_collapse=on_collapse)
    with torch.no_grad():
        for module in (training.modules["projectors"], training.modules["target_projectors"]):
            for projector in module:
                projector.perceptron[-1].weight.mul_(1e-4)
                projector.perceptron[-1].bias.fill_(1.0)
    expected = pytest.warns(RuntimeWarning, match="have collapsed")
    with pytest.raises(DivergedError, match="have collapsed") if on_collapse == "error" else expected:
        run(training)
    if on_collapse == "warn":
        said = strategy.warnings()
        assert [sentence.partition(" have collapsed")[0][-4:] for sentence in said] == ["'b0'", "'b1'"]
        again, resumed = make(on_collapse=on_collapse)
        resumed.load_state(training.state())
        assert again.warnings() == said


def test_a_training_that_has_not_collapsed_warns_of_nothing():
    strategy, training = make()
    assert strategy.warnings() == []
    run(training)
    assert strategy.warnings() == []


def test_options_are_checked():
    for options, said in (
        ({"views": "bylo"}, "byol"),
        ({"paths": 0}, "expected 1 or more"),
        ({"calibration": 1}, "calibration=1; expected 2 or more"),
        ({"images": 1}, "images=1; expected 2 or more"),
        ({"momentum": 1.0}, "0 <= momentum < 1"),
        ({"on_collapse": "hope"}, "on_collapse"),
        ({"rated_by": "center"}, "rated_by of bossnas"),
        ({"lift_target": "emma"}, "lift_target of bossnas"),
        ({"pairs": "two"}, "pairs of bossnas"),
    ):
        with pytest.raises(UsageError, match=said):
            bossnas.BossNAS(**options)


@pytest.mark.parametrize(("preset", "paths"), [("quick", 4), ("paper", 4), ("paper_sizes", 8)])
def test_presets_draw_as_many_paths_as_was_released_unless_told(preset, paths):
    small = {"hidden": 16, "outputs": 8, "images": 32, "calibration": 32, "accumulate": 1}
    for told, expected in (({}, paths), ({"paths": 3}, 3)):
        strategy, _ = make(preset=preset, **small, **told)
        drawn = strategy._drawn(0, np.random.default_rng(0))
        assert len(drawn) == expected


@pytest.mark.parametrize("preset", ["paper", "paper_sizes"])
def test_presets_of_the_article_train(preset):
    small = {"hidden": 16, "outputs": 8, "images": 32, "calibration": 32, "accumulate": 2}
    strategy, training = make(steps=4, preset=preset, **small)
    before = {name: value.clone() for name, value in training.modules["supernet"].named_parameters()}
    run(training)
    after = dict(training.modules["supernet"].named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert strategy.derive()


def slimmable():
    return registry.load("spaces", "nats_sss")((3, 8, 8), 10, norm_share="none")


def problem_of(space):
    return Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")})


@pytest.mark.parametrize("lift_target", ["ema", "initial"])
def test_lifts_of_the_twin_follow_or_stay_as_they_were_made(lift_target):
    options = {"lift": 8, "lift_target": lift_target, "momentum": 0.5, "on_collapse": "ignore"}
    strategy, training = make(problem=problem_of(slimmable()), steps=6, paths=8, **options)
    lifts, twins = training.modules["lifts"], training.modules["target_lifts"]
    assert all(isinstance(each, Lift) and len(each.ways) == 8 and each.width == 8 for each in lifts)
    before = [p.clone() for p in lifts.parameters()]
    assert all(map(torch.equal, before, twins.parameters()))
    context = Context(strategy, 0)
    context.update = lambda name, rate: training.optimisers["weights"].step()
    strategy.step(context)
    moved = [not torch.equal(p, old) for p, old in zip(lifts.parameters(), before, strict=True)]
    followed = [not torch.equal(p, old) for p, old in zip(twins.parameters(), before, strict=True)]
    assert any(moved)
    assert followed == (moved if lift_target == "ema" else [False] * len(moved))


@pytest.mark.slow
@pytest.mark.parametrize("make_space", [slimmable, lambda: registry.load("spaces", "hytra")((3, 8, 8), 10)])
def test_spaces_whose_blocks_end_in_several_shapes_are_searched(make_space):
    space = make_space()
    problem = problem_of(space)
    witness = space.sample(generator(3, "limits"))
    problem = dataclasses.replace(problem, constraints=(Constraint("macs", space.macs(witness)),))
    strategy, training = make(problem=problem, steps=9, lift=8, on_collapse="ignore")
    assert any(len(block.shapes) > 1 for block in strategy.cut)
    before = [p.clone() for p in training.modules["lifts"].parameters()]
    run(training)
    assert any(not torch.equal(p, old) for p, old in zip(training.modules["lifts"].parameters(), before, strict=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no combination of the paths that bossnas rated", RuntimeWarning)
        found = strategy.derive()
    assert found
    assert all(space.macs(each) <= space.macs(witness) for each in found)
    distances = [each["centre_distance"] for each in strategy.rate([*found, witness], training.modules)]
    assert all(0 <= each <= 8 * len(strategy.cut) for each in distances)
    assert distances[: len(found)] == sorted(distances[: len(found)])
