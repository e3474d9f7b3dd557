import numpy as np
import pytest
from scipy.stats import spearmanr

from hwnas.errors import PluginError


@pytest.fixture(scope="module")
def matmul(tvm):
    k = tvm.te.reduce_axis((0, 64), name="k")
    a, b = (tvm.te.placeholder((64, 64), name=name) for name in "ab")
    c = tvm.te.compute((64, 64), lambda i, j: tvm.te.sum(a[i, k] * b[k, j], axis=k), name="c")
    return tvm.IRModule({"main": tvm.te.create_prim_func([a, b, c])})


@pytest.fixture(scope="module")
def measured(tvm, llvm, here, matmul):
    """A tuning context, candidates of it, and their measured results."""
    from tvm.s_tir import meta_schedule as ms

    context = ms.TuneContext(
        mod=matmul,
        target=llvm,
        space_generator="post-order-apply",
        search_strategy="replay-trace",
        task_name="main",
        rand_state=3,
        num_threads=1,
    )
    context.pre_tuning(
        max_trials=60,
        num_trials_per_iter=60,
        design_spaces=context.generate_design_space(),
        database=ms.database.MemoryDatabase(),
        cost_model=ms.cost_model.RandomModel(seed=1),
    )
    candidates = list(context.generate_measure_candidates())
    built = here["builder"].build([ms.builder.BuilderInput(c.sch.mod, llvm) for c in candidates])
    inputs = [
        ms.runner.RunnerInput(result.artifact_path, "llvm", candidate.args_info)
        for result, candidate in zip(built, candidates, strict=True)
    ]
    results = [future.result() for future in here["runner"].run(inputs)]
    return context, candidates, results


def learned(rng_seed=0):
    from hwnas.compilers.tvm_cost_model import LearnedCostModel

    return LearnedCostModel(rng=np.random.default_rng(rng_seed))


def seconds(results):
    return [float(result.run_secs[0]) for result in results]


def test_held_out_candidates_are_ranked_better_than_at_random(measured):
    context, candidates, results = measured
    folds = np.arange(len(candidates)) % 4
    scores = np.empty(len(candidates))

    for fold in range(4):
        model = learned()
        kept = np.flatnonzero(folds != fold)
        left_out = np.flatnonzero(folds == fold)
        model.update(context, [candidates[i] for i in kept], [results[i] for i in kept])
        scores[left_out] = model.predict(context, [candidates[i] for i in left_out])

    correlation = spearmanr(scores, seconds(results)).statistic
    assert correlation < -0.35  # at random, 60 candidates stay above this in 99.6 of 100 cases


def test_without_programs_it_draws_from_its_generator(measured):
    context, candidates, _ = measured

    first, again, other = (learned(seed).predict(context, candidates) for seed in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_saved_and_loaded_it_predicts_the_same(measured, tmp_path):
    context, candidates, results = measured
    model, loaded = learned(), learned()
    model.update(context, candidates, results)

    model.save(str(tmp_path / "model.npz"))
    loaded.load(str(tmp_path / "model.npz"))

    np.testing.assert_array_equal(
        loaded.predict(context, candidates), model.predict(context, candidates)
    )


def test_failed_candidates_are_left_out(tvm, measured):
    from tvm.s_tir import meta_schedule as ms

    context, candidates, results = measured
    failed = ms.runner.RunnerResult(None, "did not run")
    model = learned()

    model.update(context, candidates[:3], [failed, results[1], failed])

    assert len(model.ranking) == 1


def test_tune_tir_takes_it_and_it_learns_from_the_database(
    tvm, llvm, here, matmul, measured, tmp_path
):
    from tvm.s_tir import meta_schedule as ms

    model = learned()
    database = ms.tir_integration.tune_tir(
        matmul,
        llvm,
        str(tmp_path),
        max_trials_global=24,
        num_trials_per_iter=12,
        cost_model=model,
        # Small generations: what is tested is that its scores are asked for and taken.
        strategy=ms.search_strategy.EvolutionarySearch(population_size=24, genetic_num_iters=1),
        num_tuning_cores=1,
        seed=0,
        **here,
    )
    again = learned()

    assert len(model.ranking) == len(database) == 24
    assert again.learn_from(database) == 24
    context, candidates, _ = measured
    assert again.ranking.is_ready
    np.testing.assert_allclose(
        again.predict(context, candidates), model.predict(context, candidates)
    )


def test_tune_relax_takes_it(tvm, llvm, here, network, tmp_path):
    from tvm.s_tir import meta_schedule as ms

    from hwnas.tvm_worker.relax_module import fuse

    model = learned()
    ms.relax_integration.tune_relax(
        mod=fuse(network),
        params={},
        target=llvm,
        work_dir=str(tmp_path),
        max_trials_global=10,
        max_trials_per_task=2,
        num_trials_per_iter=2,
        cost_model=model,
        strategy="replay-trace",
        seed=0,
        **here,
    )

    assert len(model.ranking) >= 4


def test_versions_that_crash_are_refused_before_they_do(tvm, monkeypatch):
    from hwnas.compilers import tvm_cost_model
    from hwnas.tvm_worker import Installation

    wrong = Installation(False, "tvm 0.27.0 with tvm-ffi 0.1.15", "pip install the other")
    monkeypatch.setattr(tvm_cost_model, "find_tvm", lambda: wrong)

    with pytest.raises(PluginError, match="pip install the other"):
        learned()
