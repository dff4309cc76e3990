"""How a request can fail: a status, a text for the client, and what kind of error it is."""

from typing import Any

from ..jobs.errors import one_line

# What an answer of the models raises for an input that cannot be answered; anything else is the server's own fault.
_OF_THE_INPUT = (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, RecursionError)


class Refused(Exception):
    """A request that is not answered. error_type: in the words of text-generation-inference; param: for OpenAI's."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str = "validation",
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.error_type, self.param, self.code = error_type, param, code
        self.retry_after, self.close = retry_after, close

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer: when to come again, and whether the connection ends."""
        found = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        return {**found, **({"Connection": "close"} if self.close else {})}

    def body(self, *, openai: bool = False) -> dict[str, Any]:
        """The JSON of the answer, as the clients of the pipelines' protocol or OpenAI's read it."""
        message = self.message.encode("utf-8", "backslashreplace").decode()  # it may quote half a character
        if not openai:
            return {"error": message, "error_type": self.error_type}
        kinds = {
            "validation": "invalid_request_error",
            "not_found": "invalid_request_error",
            "forbidden": "permission_error",
            "overloaded": "overloaded_error",
        }
        kind = kinds.get(self.error_type, "server_error")
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}


def invalid(message: str, *, param: str | None = None) -> Refused:
    """422: the request is well-formed, and cannot be answered."""
    return Refused(422, message, param=param)


def refusal_of(error: BaseException) -> Refused:
    """What a client is told of an error of a model's thread: the reason where its input is the reason."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, MemoryError):
        return Refused(503, "not enough memory for this request", error_type="overloaded", retry_after=5)
    if isinstance(error, ImportError):  # an extra that only this request needs; its text has the command
        return invalid(one_line(error))
    if isinstance(error, _OF_THE_INPUT) or type(error) is RuntimeError:
        return invalid(one_line(error))
    return Refused(500, f"{type(error).__name__}: {one_line(error)}", error_type="generation")
