"""The linear probe: it is the minimum, and what it says of unseen images is honest."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hubft.tasks.classification import Classification
from hubft.train import probe


def clusters(n: int, width: int, classes: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return `n` points around a random centre a class."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=random)
    targets = torch.arange(n) % classes
    return centres[targets] + noise * torch.randn(n, width, generator=random), targets


def solve(head: nn.Module, features: Tensor, targets: Tensor, seed: int = 0) -> probe.Probe:
    """Solve a head on features that it takes as they are."""
    task = Classification(tuple(map(str, range(int(targets.max()) + 1))))
    return probe.solve(head, probe.Known(task, head, features, targets, targets.tolist(), seed))


@pytest.mark.parametrize("classes", [2, 5])
def test_the_head_is_at_the_minimum_that_scikit_learn_finds(classes: int) -> None:
    features, targets = clusters(200, 12, classes, noise=2.0)
    head = nn.Linear(12, classes)
    found = solve(head, features, targets)
    strength = 1 / (found.decay * features.square().mean().item() * len(features))
    theirs = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(features.numpy(), targets.numpy())
    with torch.no_grad():
        probabilities = head(features).softmax(1)
    expected = torch.from_numpy(theirs.predict_proba(features.numpy())).float()
    if classes > 2:  # with two, scikit-learn penalises one vector where a softmax has two
        torch.testing.assert_close(probabilities, expected, rtol=0, atol=2e-3)
    assert (probabilities.argmax(1) == expected.argmax(1)).float().mean() > 0.99


def test_what_is_held_out_is_unseen() -> None:
    """Labels without any rule can be fitted, and not be guessed."""
    features = torch.randn(120, 400, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 4, (120,), generator=torch.Generator().manual_seed(2))
    head = nn.Linear(400, 4)
    found = solve(head, features, targets)
    assert 0.6 < found.error < 0.9
    assert found.loss > 1.3  # log 4 is 1.39


def test_few_clean_samples_ask_for_a_weak_decay_and_noise_for_a_strong_one() -> None:
    clean, noisy = (clusters(300, 8, 3, noise) for noise in (0.3, 6.0))
    decays = [solve(nn.Linear(8, 3), *data).decay for data in (clean, noisy)]
    assert decays[0] < decays[1]


@pytest.mark.parametrize("n", [40, 600, 2400])
def test_the_held_out_error_is_that_of_new_samples(n: int) -> None:
    features, targets = clusters(n + 3000, 6, 3, noise=1.5)
    head = nn.Linear(6, 3)
    found = solve(head, features[:n], targets[:n])
    with torch.no_grad():
        error = (head(features[n:]).argmax(1) != targets[n:]).float().mean().item()
    assert found.error == pytest.approx(error, abs=3.5 * (error * (1 - error) / n) ** 0.5 + 0.03)


def test_the_same_seed_gives_the_same_bits_and_leaves_gradients_and_flags() -> None:
    features, targets = clusters(90, 5, 3, noise=1.0)
    heads = []
    for _ in range(2):
        head = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 3)).eval()
        nn.init.zeros_(head[1].weight)
        nn.init.zeros_(head[1].bias)
        head.requires_grad_(False)
        solve(head, features, targets, seed=3)
        assert not any(p.requires_grad or p.grad is not None for p in head.parameters())
        heads.append(head.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(heads[0].values(), heads[1].values(), strict=True))


def test_a_class_with_a_single_sample_and_features_of_zeros_do_no_harm() -> None:
    features, targets = clusters(31, 4, 3, noise=0.5)
    targets[-1] = 3
    head = nn.Linear(4, 4)
    solve(head, features, targets)
    assert all(p.isfinite().all() for p in head.parameters())
    blank = nn.Linear(4, 4)
    found = solve(blank, torch.zeros(31, 4), targets)
    assert found.loss == pytest.approx(cross_entropy(torch.zeros(3, 3), torch.arange(3)).item(), abs=0.5)


def test_a_head_with_a_hidden_layer_is_solved_too() -> None:
    features, targets = clusters(200, 6, 2, noise=0.3)
    targets = targets ^ (features[:, 0] > 0).long()  # no straight line parts them
    head = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 2))
    torch.manual_seed(0)
    nn.init.normal_(head[0].weight)
    nn.init.zeros_(head[2].weight)
    assert solve(head, features, targets).error < 0.25
