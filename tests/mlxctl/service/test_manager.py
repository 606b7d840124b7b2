"""What a service manager tells about the service."""

from mlxctl.service.manager import Fault, ServiceStatus


def test_a_fault_is_one_line_with_its_fix() -> None:
    fault = Fault("/a.plist is out of date", "mlxctl install")
    assert str(fault) == "/a.plist is out of date: mlxctl install"
    shown = ServiceStatus(manager="launchd", faults=[fault]).as_json()
    assert shown["faults"] == [str(fault)]
    assert (shown["manager"], shown["pid"]) == ("launchd", None)
