import zipfile

import numpy as np
import pytest
from scipy.stats import spearmanr

from hwnas.compilers.candidate_ranking import CandidateRanking
from hwnas.errors import TableError


def programs(seed, n, scale=1.0):
    """Programs whose time follows two of six features, and ten percent of noise."""
    rng = np.random.default_rng(seed)
    features = [rng.uniform(size=(rng.integers(1, 4), 6)).astype(np.float32) for _ in range(n)]
    largest = np.stack([rows.max(axis=0) for rows in features])
    noise = rng.normal(0.0, 0.1, n)
    return features, (scale * np.exp(3.0 * largest[:, 1] - 2.0 * largest[:, 4] + noise)).tolist()


def test_new_programs_are_ranked_from_learned_ones():
    ranking = CandidateRanking()
    ranking.add("small", *programs(0, 150))
    ranking.add("large", *programs(1, 150, scale=1e3))
    features, times = programs(2, 100)

    scores = ranking.score(features)

    assert spearmanr(scores, times).statistic < -0.8
    assert ((scores > 0.0) & (scores <= 1.0)).all()


def test_time_scale_of_a_kernel_does_not_matter():
    features, times = programs(0, 60)
    slow, fast = CandidateRanking(), CandidateRanking()
    slow.add("k", features, [1e3 * seconds for seconds in times])
    fast.add("k", features, times)

    np.testing.assert_allclose(slow.score(features), fast.score(features), rtol=1e-6)


def test_programs_without_features_or_time_are_left_out():
    ranking = CandidateRanking()
    features = [np.ones((1, 3), np.float32), np.empty((0, 3), np.float32), *[np.ones((1, 3))] * 2]
    ranking.add("k", features, [1.0, 1.0, float("inf"), 0.0])

    assert len(ranking) == 1
    assert not ranking.is_ready
    with pytest.raises(ValueError, match="too few"):
        ranking.score([np.ones((1, 3), np.float32)])


def test_program_without_features_scores_nothing():
    ranking = CandidateRanking()
    features, times = programs(0, 40)
    ranking.add("k", features, times)

    assert ranking.score([features[0], np.empty((0, 6), np.float32)])[1] == 0.0
    assert ranking.score([]).shape == (0,)


def test_saved_and_loaded_it_scores_the_same(tmp_path):
    features, times = programs(0, 60)
    saved, loaded = CandidateRanking(), CandidateRanking()
    saved.add("a", features[:30], times[:30])
    saved.add("b", features[30:], times[30:])

    saved.save(tmp_path / "ranking.npz")
    loaded.load(tmp_path / "ranking.npz")

    assert len(loaded) == len(saved) == 60
    np.testing.assert_array_equal(loaded.score(features), saved.score(features))


def test_other_features_are_refused(tmp_path):
    ranking, other = CandidateRanking(), CandidateRanking()
    ranking.add("k", *programs(0, 20))
    other.add("k", [np.ones((1, 5), np.float32)], [1.0])
    other.save(tmp_path / "other.npz")

    with pytest.raises(TableError, match="5 features"):
        ranking.load(tmp_path / "other.npz")


def _pickled(path):
    np.savez(path.open("wb"), schema=np.array([{}], dtype=object))


def _wrong_kernel(path):
    with path.open("wb") as file:
        np.savez(
            file,
            schema=np.array(1),
            features=np.ones((2, 3), np.float32),
            latency_s=np.ones(2),
            kernel=np.array([0, 7]),
            kernels=np.array(["k"]),
        )


def _bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("features.npy", bytes((1 << 28) + 1))


def _other_schema(path):
    empty = {name: np.empty(0) for name in ("features", "latency_s", "kernel", "kernels")}
    np.savez(path.open("wb"), schema=np.array(99), **empty)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b"nothing"), "cannot read"),
        (lambda path: None, "cannot read"),
        (_pickled, "cannot read"),
        (_wrong_kernel, "does not hold"),
        (_bomb, "unpacks to"),
        (_other_schema, "schema"),
    ],
)
def test_damaged_files_are_refused(tmp_path, write, words):
    write(tmp_path / "ranking.npz")

    with pytest.raises(TableError, match=words):
        CandidateRanking().load(tmp_path / "ranking.npz")
