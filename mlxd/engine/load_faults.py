"""Errors of mlx_lm, MLX and transformers about the files of a model, as one line for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlxd.errors import LoadFailed

_MOST_CHARACTERS = 500


@contextmanager
def faults_explained(subject: str = "") -> Iterator[None]:
    """Turn errors of the block into LoadFailed; its message begins with `subject`."""
    try:
        yield
    except SystemExit as error:  # mlx_lm's module for OLMo ends the process without `hf_olmo`
        raise LoadFailed(f"{subject}this architecture needs a package that is missing") from error
    except MemoryError as error:
        raise LoadFailed(f"{subject}not enough memory to load it") from error
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
    ) as error:
        kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        raise LoadFailed(subject + kind + _in_a_line(error)) from error
    except Exception as error:
        if type(error) is not Exception:  # the Rust library of tokenizers raises no other class
            raise
        raise LoadFailed(subject + _in_a_line(error)) from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:_MOST_CHARACTERS]
