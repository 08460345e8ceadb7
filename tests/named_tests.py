"""Reads the tests, without running them, for the statements that they prove: `test_UM_7_…` proves UM_7.

A test counts only if pytest runs it and it can fail: it is collected, neither skipped nor expected to fail, the only
one of its name, and it asserts something, by itself or through a function that it calls.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SKIPS = re.compile(r"\b(?:pytest|mark|unittest)\.(?:skip\w*|xfail|importorskip)\b|\bSkipTest\b")
_COLLECTED = re.compile(r"(?:test_.*|.*_test)\.py\Z")


@dataclass(frozen=True)
class Found:
    """One test that names statements. `fault`: why it proves nothing. `words`: all texts in it and in what it uses."""

    where: str
    name: str
    ids: tuple[str, ...]
    fault: str | None
    words: frozenset[str]


@dataclass(frozen=True)
class Said:
    """What a definition says by itself: the names in it, each with whether it is an argument; its texts; if it skips.

    `can_skip`: under some condition. `always_skips`: whoever uses it.
    """

    names: tuple[tuple[str, bool], ...]
    words: frozenset[str]
    can_skip: bool
    always_skips: bool


@dataclass
class Reader:
    """Reads all Python files under `root`, which is the package `tests`. `seeds`: how an id may begin."""

    root: Path
    seeds: tuple[str, ...]
    _modules: dict[Path, Module | None] = field(default_factory=dict)
    _said: dict[ast.AST, Said] = field(default_factory=dict)

    def found(self) -> list[Found]:
        """Every function whose name looks like that of a test of a statement, whether or not it proves one."""
        mentioned = re.compile(rf"def test_?(?:{'|'.join(self.seeds)})_?\d", re.IGNORECASE)
        paths = [path for path in sorted(self.root.rglob("*.py")) if mentioned.search(path.read_text("utf-8"))]
        modules = [module for path in paths if (module := self.module(path)) is not None]
        return [each for module in modules for each in self._found_in(module)]

    def _found_in(self, module: Module) -> Iterator[Found]:
        for function, parents in module.functions():
            if not re.match(rf"test_?(?:{'|'.join(self.seeds)})_?\d", function.name, re.IGNORECASE):
                continue
            ids = self.ids(function.name)
            used = self._used(module, function)
            words = frozenset[str]().union(*(self._say(node).words for node in used))
            fault = self._fault(module, function, parents, used) if ids else "its name begins with no id"
            yield Found(str(module.path.relative_to(self.root)), function.name, ids, fault, words)

    def ids(self, name: str) -> tuple[str, ...]:
        """`test_GA_8_9_UM_1_some_words` names GA_8, GA_9 and UM_1."""
        named = re.match(rf"test((?:_(?:{'|'.join(self.seeds)})(?:_\d+)+)+)_[a-z]", name)
        groups = re.findall(r"_([A-Z]+)((?:_\d+)+)", named[1]) if named else []
        return tuple(f"{seed}_{number}" for seed, numbers in groups for number in numbers.strip("_").split("_"))

    def _fault(
        self, module: Module, function: Function, parents: tuple[ast.AST, ...], used: list[ast.AST]
    ) -> str | None:
        classes = [each for each in parents if isinstance(each, ast.ClassDef)]
        if not _COLLECTED.match(module.path.name) or len(classes) < len(parents):
            return "pytest does not collect it"
        if any(not each.name.startswith("Test") or "__init__" in _names_in(each.body) for each in classes):
            return "pytest does not collect its class"
        if _names_in((parents[-1] if parents else module.tree).body).count(function.name) > 1:  # type: ignore[attr-defined]
            return "another one has its name"
        # A fixture may skip where a program is not installed: in CI that is a failure (conftest.py).
        skips = self._say(function).can_skip or any(self._say(node).always_skips for node in used)
        if skips or any(map(_SKIPS.search, module.marks(parents))):
            return "it can be skipped, or is expected to fail"
        if any(_has_no_cases(each) for each in function.decorator_list):
            return "it has no cases"
        return None if self._asserts(module, function, set()) else "it asserts nothing"

    # ---- what a function uses ------------------------------------------------------------------------

    def module(self, path: Path) -> Module | None:
        """The parsed file, if there is one."""
        if path not in self._modules:
            self._modules[path] = Module(path, ast.parse(path.read_text("utf-8"))) if path.is_file() else None
        return self._modules[path]

    def _say(self, node: ast.AST) -> Said:
        """Read a definition, once."""
        if node not in self._said:
            nodes = list(ast.walk(node))
            names = {(each.id, False) for each in nodes if isinstance(each, ast.Name)}
            names |= {(each.arg, True) for each in nodes if isinstance(each, ast.arg)}
            words = {each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)}
            parts = [*node.decorator_list, *node.body] if isinstance(node, Function) else []
            skips = [part for part in parts if _SKIPS.search(ast.unparse(part))]
            always = any(not isinstance(part, ast.If | ast.Try | ast.For | ast.With) for part in skips)
            self._said[node] = Said(tuple(names), frozenset(words), bool(skips), always)
        return self._said[node]

    def _used(self, module: Module, function: Function) -> list[ast.AST]:
        """This function, and the fixtures, functions and constants of the tests that it uses, and so on."""
        waiting: list[tuple[Module, ast.AST]] = [(module, function)]
        seen: dict[ast.AST, None] = {}
        while waiting:
            home, node = waiting.pop()
            if node not in seen and not isinstance(node, ast.ClassDef):  # a class is no fixture, and is big
                seen[node] = None
                for name, is_argument in self._say(node).names:
                    waiting += self._resolve(home, name, is_fixture=is_argument)
        return list(seen)

    def _resolve(self, module: Module, name: str, *, is_fixture: bool) -> list[tuple[Module, ast.AST]]:
        """Where a name of this module is defined, if in the tests; a fixture's also in a conftest."""
        if name in module.definitions:
            return [(module, module.definitions[name])]
        if name in module.imports:
            place, original = module.imports[name]
            other = self.module(self._path_of(module, place))
            return [(other, other.definitions[original])] if other and original in other.definitions else []
        folders = [module.path.parent, *module.path.parent.parents] if is_fixture else []
        for folder in (each for each in folders if each.is_relative_to(self.root)):
            conftest = self.module(folder / "conftest.py")
            if conftest is not None and conftest is not module and (name in conftest.definitions or conftest.imports):
                found = self._resolve(conftest, name, is_fixture=False)
                if found:
                    return found
        return []

    def _path_of(self, module: Module, place: str) -> Path:
        dots = len(place) - len(place.lstrip("."))
        base = module.path.parents[dots - 1] if dots else self.root.parent
        return base.joinpath(*place.lstrip(".").split(".")).with_suffix(".py")

    def _asserts(self, module: Module, function: Function, seen: set[int]) -> bool:
        """Can this function fail? Of the functions inside it, only those that it uses count."""
        if id(function) in seen:
            return False
        seen.add(id(function))
        nodes = list(_own_nodes(function))
        used = {each.id for each in nodes if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
        inner = {each.name: each for each in nodes if isinstance(each, Function)}
        if any(_is_assertion(node) for node in nodes):
            return True
        if any(self._asserts(module, inner[name], seen) for name in used & inner.keys()):
            return True
        # What gives a value back asserts on its way to that; whether it is the right one is for the caller to say.
        helpers = [each for each in self._called(module, nodes, inner) if not _gives_a_value(each[1])]
        return any(self._asserts(home, helper, seen) for home, helper in helpers)

    def _called(
        self, module: Module, nodes: Iterable[ast.AST], inner: Mapping[str, Function]
    ) -> list[tuple[Module, Function]]:
        """The functions of the tests that are called by name, and the methods of classes that the module names."""
        calls = [each.func for each in nodes if isinstance(each, ast.Call)]
        plain = {each.id for each in calls if isinstance(each, ast.Name)} - inner.keys()
        methods = {each.attr for each in calls if isinstance(each, ast.Attribute)}
        found = [each for name in plain for each in self._resolve(module, name, is_fixture=False)]
        for name in (*module.definitions, *module.imports):
            for home, node in self._resolve(module, name, is_fixture=False):
                body = node.body if isinstance(node, ast.ClassDef) else []
                found += [(home, each) for each in body if isinstance(each, Function) and each.name in methods]
        return [(home, node) for home, node in found if isinstance(node, Function)]


@dataclass
class Module:
    """One parsed file."""

    path: Path
    tree: ast.Module

    @cached_property
    def definitions(self) -> dict[str, ast.AST]:
        """The functions and constants of the module, by name."""
        found: dict[str, ast.AST] = {}
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef):
                found[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
                found |= dict.fromkeys(names, node)
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Where the names come from that are imported from other tests, and what they are called there."""
        return {
            alias.asname or alias.name: ("." * node.level + (node.module or ""), alias.name)
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("tests"))
            for alias in node.names
        }

    def functions(self) -> Iterator[tuple[Function, tuple[ast.AST, ...]]]:
        """Every function, with the classes and functions around it."""

        def below(node: ast.AST, parents: tuple[ast.AST, ...]) -> Iterator[tuple[Function, tuple[ast.AST, ...]]]:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, Function):
                    yield child, parents
                is_around = isinstance(child, Function | ast.ClassDef)
                yield from below(child, (*parents, child) if is_around else parents)

        return below(self.tree, ())

    def marks(self, parents: Iterable[ast.AST]) -> list[str]:
        """What is said of all tests of the module, and of these classes."""
        classes = [each for each in parents if isinstance(each, ast.ClassDef)]
        decorators = [mark for each in classes for mark in each.decorator_list]
        bodies = [node for body in (self.tree.body, *(each.body for each in classes)) for node in body]
        said = [node for node in bodies if not isinstance(node, Function | ast.ClassDef | ast.Import | ast.ImportFrom)]
        return [ast.unparse(node) for node in (*decorators, *said) if _is_said_of_all(node)]


def _is_said_of_all(node: ast.AST) -> bool:
    """Is this a statement that runs on import and can skip: `pytestmark = …`, `pytest.importorskip(…)`, `if …:`?"""
    if isinstance(node, ast.Assign):
        is_mark = any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)
        return is_mark or (isinstance(node.value, ast.Call) and "importorskip" in ast.unparse(node.value))
    return not isinstance(node, ast.AnnAssign)


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """What is in the body, without what is in functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _is_assertion(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant)
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    # pytest.raises, Playwright's expect(…) and its wait for a page, unittest's and Mock's assert_…
    return name in ("raises", "expect", "wait_for_url") or name.startswith("assert_")


def _gives_a_value(function: Function) -> bool:
    return any(isinstance(each, ast.Return) and each.value is not None for each in _own_nodes(function))


def _has_no_cases(decorator: ast.AST) -> bool:
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("parametrize")):
        return False
    cases = decorator.args[1] if len(decorator.args) > 1 else None
    return isinstance(cases, ast.List | ast.Tuple | ast.Dict | ast.Set) and not ast.unparse(cases).strip("[](){}, ")


def _names_in(body: Iterable[ast.stmt]) -> list[str]:
    return [each.name for each in body if isinstance(each, Function | ast.ClassDef)]
