"""The rules of the house that no other tool checks: `python -m tools.house_rules`.

Prints `path:line: what is wrong` for every break, then how long functions are; the exit code is 1 if there is a break.
The rules and their reasons are in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

PRODUCT = ("rolekeeper", "gateway", "services", "local")
FOLDERS = (*PRODUCT, "migrations", "benchmarks", "tools", "tests")

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_P90_LINES = 35
MAX_PARAMETERS = 6
MAX_NESTING = 3

FORBIDDEN_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "shared"})
# Where a rule does not hold, by path. A folder stands for everything in it.
MAY_COMMIT = ("rolekeeper/jobs/db.py", "migrations", "tests")
MAY_READ_ENVIRONMENT = ("local", "tests", "tools", "benchmarks")
MAY_PRINT = ("gateway/audit.py", "gateway/keys.py", "services/evaluator/calibrate.py", "local", "tools", "benchmarks")
MAY_NAME_STATUSES = ("rolekeeper/web", "gateway", "migrations", "benchmarks", "tools", "tests")
# The edges: a request, a readiness check, a stage, a training run, a thread that must live. Whatever happens there must
# reach a person.
MAY_CATCH_ALL = (
    "gateway/hinting.py",
    "rolekeeper/jobs/rounds.py",
    "rolekeeper/web/errors.py",
    "rolekeeper/web/health.py",
    "rolekeeper/jobs/holding.py",
    "services/trainer/program/__main__.py",
    "services/trainer/program/serve.py",
    "tests",
)
# A migration is one list of statements, and Alembic runs its files by importing them.
IS_MIGRATION = ("migrations",)
# Calls that only make a constant or declare something.
PURE_CALLS = frozenset(
    {
        *("frozenset", "tuple", "dict", "set", "range", "len", "TypeVar", "ParamSpec", "NewType", "TypeAdapter"),
        *("Path", "PurePosixPath", "timedelta", "datetime", "MappingProxyType", "ContextVar", "struct.Struct"),
        *("re.compile", "str.maketrans", ".resolve", ".with_name", ".strftime"),
        *("APIRouter", "Depends", "Query", "Header", "Body", "HTTPBearer", "MetaData", "Field", "AfterValidator"),
        *("Answer", "BodyLimits", "problem_responses", "typer.Typer", "typer.Option", "typer.Argument", "World"),
    }
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
# A `with` is no branch, so it is not counted.
Blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match)


class Finding(NamedTuple):
    """One break of a rule."""

    line: int
    text: str


@dataclass(frozen=True)
class Source:
    """A parsed file. `path` is relative to the root of the repository."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    def within(self, places: tuple[str, ...]) -> bool:
        """Whether the file is one of `places`, or in one of them."""
        return any(self.path == PurePosixPath(place) or PurePosixPath(place) in self.path.parents for place in places)

    def functions(self) -> Iterator[Function]:
        """Every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


Rule = Callable[[Source], Iterator[Finding]]


def file_name(source: Source) -> Iterator[Finding]:
    """A file is named by what is in it."""
    for part in (*source.path.parts[:-1], source.path.stem):
        if part in FORBIDDEN_NAMES:
            yield Finding(1, f"'{part}' says nothing about what is in it; name the thing")


def file_size(source: Source) -> Iterator[Finding]:
    """A file is read in one sitting."""
    num_lines = len(source.text.splitlines())
    if num_lines > MAX_FILE_LINES:
        yield Finding(1, f"{num_lines} lines in a file; at most {MAX_FILE_LINES}")


def function_size(source: Source) -> Iterator[Finding]:
    """A function fits on a screen, and so do its parameters and its nesting in a head."""
    for function in source.functions():
        if length(function) > MAX_FUNCTION_LINES and not source.within(IS_MIGRATION):
            yield Finding(
                function.lineno, f"{function.name} has {length(function)} lines; at most {MAX_FUNCTION_LINES}"
            )
        count = num_parameters(function)
        if count > MAX_PARAMETERS:
            yield Finding(function.lineno, f"{function.name} has {count} parameters; at most {MAX_PARAMETERS}")
        depth = max((nesting(statement) for statement in function.body), default=0)
        if depth > MAX_NESTING:
            yield Finding(function.lineno, f"{function.name} nests {depth} blocks; at most {MAX_NESTING}")
        if function.returns is None:
            yield Finding(function.lineno, f"{function.name} does not say what it returns")


def import_effects(source: Source) -> Iterator[Finding]:
    """Importing a module does nothing but define names."""
    if source.within((*IS_MIGRATION, "tests")):
        return
    for statement in source.tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            names = {dotted(call.func): call.lineno for call in calls_now(statement)}
            for name in sorted(name for name in names if not is_pure(name)):
                yield Finding(names[name], f"{name}() is called when the module is imported")
        elif not is_definition(statement):
            yield Finding(statement.lineno, "something is done when the module is imported")


def places(source: Source) -> Iterator[Finding]:
    """Some things are done in one place only."""
    for node in ast.walk(source.tree):
        name = dotted(node.func) if isinstance(node, ast.Call) else ""
        if name.endswith(".commit") and not source.within(MAY_COMMIT):
            yield Finding(line_of(node), "commit() is called in rolekeeper/jobs/db.py only")
        if name == "print" and not source.within(MAY_PRINT):
            yield Finding(line_of(node), "print() is for the edges that talk to a person; log instead")
        reads_environment = isinstance(node, ast.Attribute) and dotted(node) in ("os.environ", "os.getenv")
        if reads_environment and source.path.name != "settings.py" and not source.within(MAY_READ_ENVIRONMENT):
            yield Finding(line_of(node), "the environment is read in settings.py only")


def catch_all(source: Source) -> Iterator[Finding]:
    """Everything is caught at the listed edges only."""
    if source.within(MAY_CATCH_ALL):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {"" if kind is None else dotted(kind) for kind in caught}
            cleans_up = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if names & {"", "Exception", "BaseException"} and not cleans_up:
                yield Finding(node.lineno, "everything is caught here; name the errors, or list this edge")


def statuses(source: Source) -> Iterator[Finding]:
    """HTTP statuses are chosen in rolekeeper/web and the gateway only."""
    if source.within(MAY_NAME_STATUSES):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.keyword) and node.arg in ("status_code", "status") and is_number(node.value):
            yield Finding(line_of(node.value), "an HTTP status is chosen outside rolekeeper/web")
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asks_status = any(dotted(side).endswith(("status_code", ".status")) for side in sides)
            if asks_status and any(is_number(side) for side in sides):
                yield Finding(node.lineno, "name the HTTP status: http.HTTPStatus")


RULES: tuple[Rule, ...] = (file_name, file_size, function_size, import_effects, places, catch_all, statuses)


def length(function: Function) -> int:
    """Lines from `def` to the last statement, the docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def num_parameters(function: Function) -> int:
    """Parameters that have a name, without `self` and `cls`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def nesting(node: ast.AST) -> int:
    """How many blocks lie in each other. `elif` is beside its `if`; an inner function counts for itself."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return 0
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        inner = max(nesting(statement) for statement in node.body)
        return max(1 + inner, nesting(node.orelse[0]))
    inner = max((nesting(child) for child in ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, Blocks)


def calls_now(node: ast.AST) -> Iterator[ast.Call]:
    """The calls that are made when the statement runs: not those inside a lambda."""
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from calls_now(child)


def is_definition(statement: ast.stmt) -> bool:
    """Whether the statement only gives something a name, or is a docstring, or one of the two usual guards."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.If):
        test = statement.test.left if isinstance(statement.test, ast.Compare) else statement.test
        return dotted(test) in ("TYPE_CHECKING", "__name__")
    return isinstance(statement, Function | ast.ClassDef | ast.Import | ast.ImportFrom)


def is_pure(name: str) -> bool:
    """Whether a call only makes a constant. `.name` in the list stands for a method of whatever object."""
    return name in PURE_CALLS or f".{name.rpartition('.')[2]}" in PURE_CALLS


def is_number(node: ast.expr) -> bool:
    """Whether the expression is a number like 404."""
    return isinstance(node, ast.Constant) and type(node.value) is int


def dotted(node: ast.AST) -> str:
    """`a.b.c` for a name or a chain of attributes; what is before it in the chain is left out."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def line_of(node: ast.AST) -> int:
    """The line of a node."""
    return int(getattr(node, "lineno", 1))


def sources(root: Path) -> Iterator[Source]:
    """Every Python file of the repository."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            yield Source(PurePosixPath(path.relative_to(root)), text, ast.parse(text))


def check(source: Source) -> list[str]:
    """Every break of every rule in one file."""
    return [f"{source.path}:{line}: {text}" for rule in RULES for line, text in sorted(rule(source))]


def summary(lengths: list[int]) -> str:
    """How long the functions of the product are."""
    median, p90 = statistics.median(lengths), percentile_90(lengths)
    return f"{len(lengths)} functions, lines: median {median:g}, p90 {p90}, max {max(lengths)}"


def percentile_90(lengths: list[int]) -> int:
    """The length that nine of ten functions do not exceed."""
    return sorted(lengths)[(9 * len(lengths) - 1) // 10]


def main(root: Path) -> int:
    """Check everything under `root`. Returns the exit code."""
    breaks: list[str] = []
    lengths: list[int] = []
    for source in sources(root):
        breaks += check(source)
        if source.within(PRODUCT):
            lengths += [length(function) for function in source.functions()]
    if lengths and percentile_90(lengths) > MAX_P90_LINES:
        breaks.append(f"one function in ten is longer than {MAX_P90_LINES} lines")
    print("\n".join([*breaks, summary(lengths)] if lengths else breaks))
    return 1 if breaks else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
