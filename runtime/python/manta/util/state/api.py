"""The functions of `manta.util.state` under the name that Ray's have as well."""

from manta.util.state import *  # noqa: F403
