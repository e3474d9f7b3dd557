import builtins

import pytest

from hwnas import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_a_hwnas_error(error):
    assert issubclass(error, errors.HwnasError)
    assert error.__doc__


@pytest.mark.parametrize("error", [c for c in CLASSES if c is not errors.HwnasError])
def test_every_cause_is_also_a_built_in_that_fits(error):
    own, other = error.__bases__

    assert own is errors.HwnasError
    assert getattr(builtins, other.__name__) is other


def test_all_errors_of_the_module_are_exported():
    defined = {n for n, v in vars(errors).items() if isinstance(v, type)}

    assert defined == set(errors.__all__)
