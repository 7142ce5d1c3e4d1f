"""Gaussian processes: equal to the textbook's formulas, and honest about noise."""

import numpy as np
import pytest

from nasforge.strategy.prediction.gaussian import Distances, Points, Posterior, Setting, fitted, likeliest, scale_of


def line(count, extras=0, seed=0):
    rng = np.random.default_rng(seed)
    return Points(rng.uniform(0, 3, (count, 2)), rng.standard_normal((count, extras)))


def test_the_posterior_equals_the_textbook_s():
    """Rasmussen & Williams 2006, equations 2.25, 2.26 and, for the mean of unknown level, 2.42 with a point prior."""
    data, new, setting = line(12, 1), line(5, 1, seed=1), Setting(0.8, 0.3, 0.1)
    targets = np.sin(data.decisions.sum(axis=1))
    scale = scale_of(data)
    posterior = Posterior(data, targets, setting, scale)

    def covariance(first, second):
        apart = ((first.decisions[:, None] - second.decisions[None]) ** 2).sum(axis=2)
        beside = ((first.extras[:, None] - second.extras[None]) ** 2).sum(axis=2)
        return 0.7 * np.exp(-apart / (0.8 * scale)) + 0.3 * np.exp(-beside / 2)

    noisy = np.linalg.inv(covariance(data, data) + 0.1 * np.eye(12))
    level = noisy.sum(axis=0) @ targets / noisy.sum()
    means = level + covariance(new, data) @ noisy @ (targets - level)
    variance = (targets - level) @ noisy @ (targets - level) / 12
    spread = 1 - np.einsum("ij,jk,ik->i", covariance(new, data), noisy, covariance(new, data))
    found = posterior.predict(new)
    assert np.allclose(found[0], means)
    assert np.allclose(found[1], np.sqrt(variance * spread), rtol=1e-5)


def test_draws_have_the_mean_and_the_deviation_that_are_predicted():
    data, new = line(10), line(4, seed=1)
    posterior = Posterior(data, np.cos(data.decisions[:, 0]), Setting(0.8, 0.0, 0.1), scale_of(data))
    rng = np.random.default_rng(0)
    drawn = np.stack([posterior.sample(new, rng) for _ in range(4000)])
    means, deviations = posterior.predict(new)
    assert np.allclose(drawn.mean(axis=0), means, atol=5 * deviations.max() / np.sqrt(4000))
    assert np.allclose(drawn.std(axis=0), deviations, rtol=0.1)


def test_noise_is_found_where_it_is():
    data = line(80)
    smooth = np.sin(data.decisions[:, 0])
    noisy = np.random.default_rng(1).standard_normal(80)
    assert likeliest(data, smooth, 1)[0].noise == 0.01
    assert likeliest(data, noisy, 1)[0].noise == 1.0


def test_extras_are_used_where_they_explain_the_targets():
    data = line(80, extras=1)
    assert likeliest(data, 2 * data.extras[:, 0], 1)[0].share == 0.6
    assert likeliest(data, np.sin(data.decisions[:, 0]), 1)[0].share == 0.0


def test_members_are_the_likeliest_settings_weighted_by_likelihood():
    data = line(20, extras=2)
    targets = data.decisions[:, 0] + data.extras[:, 0]
    settings = likeliest(data, targets, 5)
    values = [each.log_likelihood for each in fitted(data, targets, settings)]
    assert values == sorted(values, reverse=True)
    assert sum(each.weight for each in settings) == pytest.approx(1.0)
    weights = np.exp(np.asarray(values) - values[0])
    assert np.allclose([each.weight for each in settings], weights / weights.sum())


def test_equal_targets_and_equal_points_are_borne():
    data = Points(np.zeros((3, 2)), np.zeros((3, 1)))
    for posterior in fitted(data, np.zeros(3), likeliest(data, np.zeros(3), 2)):
        means, deviations = posterior.predict(data, Distances.between(data, data))
        assert np.isfinite(means).all()
        assert np.isfinite(deviations).all()
