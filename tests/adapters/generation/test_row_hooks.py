"""Which hooks make a batch keep its rows: those of other programs, anywhere in the model or in all modules."""

import functools

import pytest
import torch

from afterlogits.adapters.generation.row_hooks import sees_rows


def of_another_program(module, *arguments):
    return None


def model():
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))


@pytest.mark.parametrize("hook", [of_another_program, functools.partial(of_another_program)])
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_anywhere_is_seen_until_it_is_removed(register, hook):
    found = model()
    assert not sees_rows(found)
    handle = getattr(found[1], register)(hook)
    assert sees_rows(found)
    handle.remove()
    assert not sees_rows(found)


def test_a_hook_of_all_modules_is_seen():
    handle = torch.nn.modules.module.register_module_forward_hook(of_another_program)
    try:
        assert sees_rows(model())
    finally:
        handle.remove()


def test_hooks_that_take_a_batch_of_any_size_are_not():
    found = model()
    torch.nn.utils.parametrizations.weight_norm(found[0])
    assert not sees_rows(found)


def test_an_object_that_is_no_module_has_no_hooks():
    """An ONNX session is called, and generates."""

    class Session:
        def __call__(self, **inputs):
            return inputs

    assert not sees_rows(Session())
