"""The shape of the code: who may import whom, no circles, and one meaning for each class name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent

LEAVES = {
    "mlxd",
    "mlxd.activity",
    "mlxd.addresses",
    "mlxd.certificate",
    "mlxd.control_api",
    "mlxd.errors",
    "mlxd.files",
    "mlxd.keys",
    "mlxd.lock",
    "mlxd.frames",
    "mlxd.generate_request",
    "mlxd.messages",
    "mlxd.network",
    "mlxd.page_api",
    "mlxd.prompt_files",
    "mlxd.rate",
    "mlxd.processes",
    "mlxd.run_record",
    "mlxd.stored_responses",
    "mlxd.sysctl",
    "mlxd.units",
}
"""What everyone may import: modules that import nothing of ours but other leaves."""

ARROWS = {
    "mlxd.metrics": set(),
    "mlxd.paths": set(),
    "mlxd.config": {"mlxd.paths"},
    "mlxd.logs": {"mlxd.config", "mlxd.paths"},
    "mlxd.models": {"mlxd.config", "mlxd.paths"},
    "mlxd.hub": {"mlxd.metrics", "mlxd.models", "mlxd.config", "mlxd.paths"},
    "mlxd.pool": {"mlxd.metrics", "mlxd.models", "mlxd.config", "mlxd.paths"},
    "mlxd.api": {"mlxd.config"},
    "mlxd.control": {
        "mlxd.pool",
        "mlxd.models",
        "mlxd.hub",
        "mlxd.config",
        "mlxd.paths",
    },
    "mlxd.http": {
        "mlxd.api",
        "mlxd.control",
        "mlxd.metrics",
        "mlxd.pool",
        "mlxd.models",
        "mlxd.config",
    },
    "mlxd.engine": set(),
    "mlxd.gguf": set(),
    "mlxctl": {"mlxd.config", "mlxd.paths"},
}
"""What each room imports beside the leaves. The rest of `mlxd`, which is the daemon itself, may
import every room but the engine and the importer: those are processes of their own."""

NOT_FOR_THE_DAEMON = {"mlxd.engine", "mlxd.gguf"}

TWO_MEANINGS: dict[str, str] = {}
"""Public class names that two modules define, each with the reason."""


def modules() -> dict[str, ast.Module]:
    found = {}
    for file in sorted([*ROOT.glob("mlxd/**/*.py"), *ROOT.glob("mlxctl/**/*.py")]):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text())
    return found


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """Every module of ours that `module` imports, wherever in it the import stands."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def room(module: str) -> str:
    """The longest part of a module's name that the arrows know, or else the module itself."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in ARROWS), module)


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: set(imports(module)) - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_no_arrow_points_up() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module in MODULES
        for imported in imports(module)
        if not allowed(room(module), room(imported))
    ]
    assert not wrong


def allowed(importer: str, imported: str) -> bool:
    if imported in (importer, *LEAVES):
        return True
    if importer in LEAVES:
        return False
    if importer in ARROWS:
        return imported in ARROWS[importer]
    return imported not in NOT_FOR_THE_DAEMON  # the daemon itself


def test_a_public_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for module, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert twice.keys() == TWO_MEANINGS.keys(), twice


def test_no_module_is_too_long() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in (*ROOT.glob("mlxd/**/*.py"), *ROOT.glob("mlxctl/**/*.py"))
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert not long


def test_a_package_lists_its_modules() -> None:
    missing = []
    for package in {module.rpartition(".")[0] for module in MODULES} - {"", "mlxd", "mlxctl"}:
        listed = set(re.findall(r"\w+", ast.get_docstring(MODULES[package]) or ""))
        for module in MODULES:
            parent, _, name = module.rpartition(".")
            if parent == package and name not in (*listed, "__main__"):
                missing.append(module)
    assert not missing


def test_no_test_imports_from_another_test() -> None:
    importing = [
        str(file.relative_to(ROOT))
        for file in ROOT.glob("tests/**/*.py")
        if re.search(r"^from tests\.\S*\btest_\w+ import", file.read_text(), re.MULTILINE)
    ]
    assert not importing  # what several share is in tests/support
