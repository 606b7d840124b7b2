"""Names of repositories, valid and invalid."""

import pytest

from mlxd.errors import InvalidRequest
from mlxd.hub.reference import Reference, parse


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("mlx-community/SmolLM2-135M_4.bit", "mlx-community/SmolLM2-135M_4.bit", "main"),
        ("gpt2", "gpt2", "main"),
        ("a/b@v1.0", "a/b", "v1.0"),
        ("a/b@refs/pr/1", "a/b", "refs/pr/1"),
        ("https://hf.co/a/b/tree/v1", "a/b", "v1"),
    ],
)
def test_a_name_may_have_a_revision(text: str, repo: str, revision: str) -> None:
    assert parse(text) == Reference(repo, revision)
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/a", "a/b/c", "..", "../a", "a/..", ".a/b", "a--b/c", "a/b c", "a/-b"),
        *("a/b.", "ä/b", "x" * 97, "a\n/b", "/Users/a/b", "https://hf.co/a/b c"),
    ],
)
def test_an_invalid_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a repository name"):
        parse(text)


@pytest.mark.parametrize("revision", ["", "-x", "a b", "a..b", "a\nb", "~1", "x" * 256])
def test_an_invalid_revision_is_refused(revision: str) -> None:
    with pytest.raises(InvalidRequest, match="a branch, a tag or the hash of a commit"):
        parse(f"a/b@{revision}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf.co/a/b:Q4_K_M", "the hub has no tags such as :Q4_K_M; a revision is a/b@REVISION"),
        ("https://huggingface.co/datasets/a/b", "is a data set, not a model"),
    ],
)
def test_an_address_of_something_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse(text)
