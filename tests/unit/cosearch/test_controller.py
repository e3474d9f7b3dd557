import numpy as np
import pytest
import torch

from hwnas.cosearch.controller import Controller

COUNTS = [3, 2, 4, 5]
NETWORKS = 2  # leading decisions


def controller():
    return Controller(COUNTS, hidden=8, seed=1)


def switches(n):
    """The first row decides everything, the others the last two decisions alone."""
    free = np.zeros((n, len(COUNTS)), np.bool_)
    free[0] = True
    free[:, NETWORKS:] = True
    return free, np.full(len(COUNTS), -1)


def test_draws_are_options_and_follow_from_the_uniforms():
    free, given = switches(50)
    uniforms = np.random.default_rng(0).random(free.shape)

    first, again = (controller().draw(uniforms, free, given) for _ in range(2))

    assert (first.rows < COUNTS).all()
    np.testing.assert_array_equal(first.rows, again.rows)
    torch.testing.assert_close(first.log_probability, again.log_probability)


def test_rows_with_frozen_networks_have_those_of_the_first_row():
    free, given = switches(9)

    rows = controller().draw(np.random.default_rng(0).random(free.shape), free, given).rows

    assert (rows[:, :NETWORKS] == rows[0, :NETWORKS]).all()
    assert len(np.unique(rows, axis=0)) > 1


def test_options_come_up_as_often_as_their_probability_says():
    n, made = 4000, controller()
    with torch.no_grad():
        made.head.bias[:3] = torch.tensor([0.0, 1.0, 2.0])
    free, given = np.ones((n, len(COUNTS)), np.bool_), np.full(len(COUNTS), -1)

    draw = made.draw(np.random.default_rng(0).random(free.shape), free, given)

    probability = draw.log_probability[:, 0].exp().detach().numpy()
    for option in range(3):
        shown = draw.rows[:, 0] == option
        assert shown.mean() == pytest.approx(probability[shown][0], abs=0.03)


def test_probabilities_are_those_of_the_options_that_were_sampled():
    free, given = np.ones((3, len(COUNTS)), np.bool_), np.full(len(COUNTS), -1)
    made = controller()

    draw = made.draw(np.random.default_rng(5).random(free.shape), free, given)

    assert (draw.log_probability < 0).all()
    assert (draw.entropy > 0).all()
    assert (draw.entropy.detach().numpy() <= np.log(COUNTS) + 1e-5).all()


def test_logits_of_frozen_networks_get_no_gradient():
    free, given = switches(6)
    made = controller()
    draw = made.draw(np.random.default_rng(0).random(free.shape), free, given)

    (draw.log_probability[1:].sum() + draw.entropy[1:].sum()).backward()

    of_networks = sum(COUNTS[:NETWORKS])
    assert (made.head.weight.grad[:of_networks] == 0).all()
    assert (made.head.bias.grad[:of_networks] == 0).all()
    assert (made.head.bias.grad[of_networks:] != 0).any()
    # Nor does what led to the networks' decisions: their embeddings stay as they are.
    assert (made.embedding.weight.grad[:of_networks] == 0).all()
    assert (made.embedding.weight.grad[-1] == 0).all()


def test_the_first_row_teaches_all_decisions():
    free, given = switches(6)
    made = controller()
    draw = made.draw(np.random.default_rng(0).random(free.shape), free, given)

    draw.log_probability[0].sum().backward()

    assert (made.head.bias.grad[: sum(COUNTS[:NETWORKS])] != 0).any()


def test_frozen_probabilities_are_as_without_freezing():
    free, given = switches(4)
    uniforms = np.random.default_rng(2).random(free.shape)
    made = controller()
    drawn = made.draw(uniforms, free, given)

    unfrozen = made._log_softmax(drawn.rows, 0)

    numbers = torch.from_numpy(drawn.rows.astype(np.int64) + np.cumsum([0, *COUNTS[:-1]]))
    wanted = unfrozen.gather(2, numbers[:, :, None])[:, :, 0]
    torch.testing.assert_close(drawn.log_probability[0], wanted[0])
    torch.testing.assert_close(drawn.log_probability[1:, NETWORKS:], wanted[1:, NETWORKS:])


def test_given_options_are_taken():
    free = np.zeros((1, len(COUNTS)), np.bool_)
    free[0, :NETWORKS] = True
    given = np.array([-1, -1, 3, 4])

    draw = controller().draw(np.random.default_rng(0).random(free.shape), free, given)

    assert draw.rows[0, NETWORKS:].tolist() == [3, 4]
    assert (draw.log_probability[0, NETWORKS:] == 0).all()
