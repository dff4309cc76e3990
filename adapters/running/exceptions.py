"""Errors of this package that are also what transformers raises in that place, for programs that catch those.

Every class takes one message, so that a pipeline can put the number of the item in front of it.
"""


class InputError(Exception):
    """An input that cannot be answered."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0]) if self.args else ""


class InputTypeError(InputError, TypeError, ValueError):
    """An input of the wrong kind: transformers raises TypeError or ValueError, as the place may be."""


class MissingFieldError(InputError, ValueError, KeyError):
    """A dict without a field that its task needs; the question-answering pipeline of 4.57.6 raises KeyError."""


class LongTextError(InputError, ValueError, IndexError, RuntimeError):
    """A text of more tokens than the model has positions: torch raises IndexError or RuntimeError."""


class MismatchError(InputError, ValueError, IndexError):
    """A tokenizer that gives ids the model does not have: torch raises IndexError."""


class NotUnicodeError(InputError, ValueError, TypeError):
    """A text with half of a surrogate pair: the tokenizer raises TypeError."""


class NoTaskError(InputError, ValueError, RuntimeError):
    """Neither a task nor a model that tells it, or parts of a model without it: transformers raises RuntimeError."""


class TemplateError(InputError, TypeError, ValueError, AttributeError):
    """A hypothesis template that is no string: transformers raises AttributeError."""


class UnknownTaskError(InputError, ValueError, KeyError):
    """A task that there is not: transformers raises KeyError."""


def __getattr__(name: str) -> type[Exception]:
    # PipelineException is a class of transformers, which this module does not import before it is needed.
    if name != "NoMaskError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from transformers.pipelines import PipelineException

    class NoMaskError(InputError, PipelineException, ValueError):  # type: ignore[misc]
        """A text without a mask, or a tokenizer that has none: transformers raises its PipelineException."""

        task, model = "fill-mask", ""

        def __init__(self, message: str) -> None:
            Exception.__init__(self, message)

    NoMaskError.__qualname__ = name  # found again by pickle
    globals()[name] = NoMaskError
    return NoMaskError
