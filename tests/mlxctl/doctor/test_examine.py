"""What a check does to the others: nothing, whatever becomes of it."""

import threading
from collections.abc import Iterator

from mlxctl.doctor import examine, machine
from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, ok
from mlxctl.errors import CommandFailed
from tests.mlxctl.doctor.conftest import WELL


def fine(facts: Facts) -> Iterator[Finding]:
    yield ok("fine", "it is")


def dead_disk(facts: Facts) -> Iterator[Finding]:
    threading.Event().wait(60)
    yield ok("disk", "never said")


def no_permission(facts: Facts) -> Iterator[Finding]:
    raise PermissionError(13, "Permission denied", "/private")
    yield


def refused(facts: Facts) -> Iterator[Finding]:
    raise CommandFailed("launchctl does not end")
    yield


def test_a_check_that_hangs_or_fails_is_a_finding() -> None:
    found = examine(WELL, (dead_disk, no_permission, refused, fine, machine.platform), 0.5)
    assert [(finding.check, finding.state) for finding in found] == [
        ("dead disk", "error"),
        ("no permission", "error"),
        ("refused", "error"),
        ("fine", "ok"),
        ("platform", "ok"),
    ]
    assert [finding.message for finding in found[:3]] == [
        "this check failed: no result within 0.5 s",
        "this check failed: /private: Permission denied",
        "this check failed: launchctl does not end",
    ]
