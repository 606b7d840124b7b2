"""What a check does to the others: nothing, whatever becomes of it."""

import time
from collections.abc import Iterator

from mlxctl.doctor import examine, machine
from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, good
from mlxctl.errors import CommandFailed
from tests.mlxctl.doctor.conftest import WELL


def fine(situation: Facts) -> Iterator[Finding]:
    yield good("fine", "it is")


def dead_disk(situation: Facts) -> Iterator[Finding]:
    time.sleep(60)
    yield good("disk", "never said")


def no_permission(situation: Facts) -> Iterator[Finding]:
    raise PermissionError(13, "Permission denied", "/private")
    yield


def refused(situation: Facts) -> Iterator[Finding]:
    raise CommandFailed("launchctl does not end")
    yield


def test_a_check_that_hangs_or_fails_is_a_finding() -> None:
    began = time.monotonic()
    found = examine(WELL, (dead_disk, no_permission, refused, fine, machine.platform), 0.2)
    assert time.monotonic() - began < 5
    assert [(finding.check, finding.state) for finding in found] == [
        ("dead disk", "bad"),
        ("no permission", "bad"),
        ("refused", "bad"),
        ("fine", "good"),
        ("platform", "good"),
    ]
    assert [finding.message for finding in found[:3]] == [
        "this cannot be checked: does not end within 0.2 s",
        "this cannot be checked: /private: Permission denied",
        "this cannot be checked: launchctl does not end",
    ]
