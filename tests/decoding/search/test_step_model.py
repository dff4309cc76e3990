"""The protocols of decoding/steps.py, and the table model that tests and enumeration use."""

import torch

from afterlogits.decoding.search.step_model import HiddenStepModel, StepModel, TableModel, VerifyingStepModel, expansion


def test_expansion_repeats_each_row_next_to_itself():
    """Row r of B lands at r * copies .. r * copies + copies - 1."""
    assert expansion(3, 2).tolist() == [0, 0, 1, 1, 2, 2]
    assert expansion(2, 1).tolist() == [0, 1]


def test_table_model_follows_its_rule_through_steps_and_selection():
    """The rule sees exactly the tokens a row has had, also after rows were dropped, repeated and swapped."""
    model = TableModel(torch.tensor([[1], [2], [3]]), lambda ids: ids.sum(1, keepdim=True) * torch.ones(4))
    assert model.prefill()[:, 0].tolist() == [1, 2, 3]
    model.select_rows(torch.tensor([2, 0, 0]))
    assert model.step(torch.tensor([10, 20, 30]))[:, 0].tolist() == [13, 21, 31]


def test_protocols_tell_what_a_model_can_do():
    """A model without verify or hidden states is a StepModel and neither of the richer kinds."""
    model = TableModel(torch.tensor([[0]]), lambda ids: ids)
    assert isinstance(model, StepModel)
    assert not isinstance(model, VerifyingStepModel)
    assert not isinstance(model, HiddenStepModel)
