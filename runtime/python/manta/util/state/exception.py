"""What goes wrong when the cluster is asked what it is and does, under Ray's names."""

__all__ = ["DataSourceUnavailable", "RayStateApiException", "ServerUnavailable"]


class RayStateApiException(RuntimeError):
    """The question was refused."""


class DataSourceUnavailable(RayStateApiException):
    """A part of the cluster does not answer; for programs that name it."""


class ServerUnavailable(RayStateApiException):
    """The head does not answer; for programs that name it."""
