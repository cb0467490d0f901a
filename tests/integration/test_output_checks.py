"""Outputs that cannot serve as a reference: the reason depends on the weights' origin."""

from __future__ import annotations

from tests.support.models_python import python

CODE = """
import torch
from calibration import check_outputs
from protocol import RecipeError

good = torch.linspace(-2, 2, 100)

def reason(values, trained, others=good):
    try:
        check_outputs({"logits": values}, lambda: {"logits": others}, trained=trained)
    except RecipeError as error:
        return str(error)
    raise AssertionError("not refused")

bad = {"not finite": good / 0, "outside 0.001 to 1000": good * 1e6, "1.17e-06": good * 1e-6,
       "95% of its values are zero": torch.cat([torch.zeros(95), 9 * torch.ones(5)])}
for message, values in bad.items():
    at_random, trained = reason(values, False), reason(values, True)
    assert message in at_random and "the random weights fit" in at_random, at_random
    assert message in trained and "random" not in trained, trained
    assert "the trained weights fit the architecture, its arguments or the drawn inputs" in trained
for trained in (False, True):
    assert reason(good, trained) == "the output does not depend on the input"
assert abs(check_outputs({"logits": good}, lambda: {"logits": -good}, trained=True) - 1.166) < 0.01
"""


def test_trained_weights_are_not_called_random():
    completed = python("models", CODE)
    assert completed.returncode == 0, completed.stderr[-3000:]
