"""Runs `/input/script.py` like a notebook cell, and reports errors so that whoever wrote it can mend it.

A last line that is an expression is printed. A traceback shows the script's own frames, the failing line, and the
values of the names in that line.
"""

import _ast  # `ast` itself imports much that only tools for syntax trees need
import os
import sys
import types

SOURCE = "/input/script.py"
NAME = "script.py"
WORKSPACE = "/workspace"
PACKAGES = "/opt/packages"
ONLY_TREE: int = _ast.PyCF_ONLY_AST

MOST_FRAMES = 8
MOST_NAMES = 6
MOST_FILES = 20
MOST_LOOKED_AT = 2_000
SKIPPED_FOLDERS = {"__pycache__", "node_modules"}  # and hidden ones


def main() -> None:
    with open(SOURCE, encoding="utf-8") as file:
        source = file.read()
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=f"{WORKSPACE}/{NAME}", __builtins__=__builtins__, exit=sys.exit, quit=sys.exit)
    sys.modules["__main__"] = module
    sys.argv = [NAME]
    try:
        run(source, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        sys.stdout.flush()
        print(explain(error).replace(SOURCE, NAME), file=sys.stderr)
        sys.stderr.flush()
        sys.exit(1)


def run(source: str, namespace: dict[str, object]) -> None:
    # Compiled under its real path, so that a traceback finds the source lines whoever prints it.
    tree = compile(source, SOURCE, "exec", ONLY_TREE, dont_inherit=True)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], _ast.Expr) else None
    exec(compile(tree, SOURCE, "exec", dont_inherit=True), namespace)
    if last is not None:
        value = eval(compile(_ast.Expression(last.value), SOURCE, "eval", dont_inherit=True), namespace)
        if value is not None:
            show(value)


def show(value: object) -> None:
    if isinstance(value, dict | list | tuple | set):
        import pprint

        pprint.pprint(value, width=120, compact=True, sort_dicts=False)
    else:
        print(value)


def explain(error: BaseException) -> str:
    """The traceback of the script's own frames, then what helps to mend it."""
    import traceback

    if isinstance(error, SyntaxError) and error.filename == SOURCE:
        return "".join(traceback.format_exception_only(error)).rstrip()
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if is_own(frame)]
    shown = traceback.StackSummary.extract(iter(frames[-MOST_FRAMES:]))
    text = "Traceback (most recent call last):\n" if frames else ""
    text += "".join(shown.format()) + "".join(traceback.format_exception_only(error))
    hints = [values_in_line(*frames[-1])] if frames else []
    hints.append(hint_for(error))
    return text.rstrip() + "".join(f"\n{hint}" for hint in hints if hint)


def is_own(frame: types.FrameType) -> bool:
    file = frame.f_code.co_filename
    return file == SOURCE or file.startswith(f"{WORKSPACE}/")


def values_in_line(frame: types.FrameType, number: int) -> str:
    """`With: row = {…}, total = 0` for the names that the failing line uses."""
    import io
    import linecache
    import reprlib
    import tokenize

    line = linecache.getline(frame.f_code.co_filename, number).strip()
    names: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(line).readline):
            if token.type == tokenize.NAME and token.string not in names:
                names.append(token.string)
    except (tokenize.TokenError, SyntaxError, IndentationError):
        pass  # one line of several; the names so far will do
    short = reprlib.Repr()
    short.maxdict, short.maxlist, short.maxtuple, short.maxstring, short.maxother = 12, 6, 6, 120, 200
    values = {name: find(frame, name) for name in names}
    written = [f"{name} = {short.repr(value)}" for name, value in values.items() if worth_showing(value)]
    return f"With: {', '.join(written[:MOST_NAMES])}" if written else ""


MISSING = object()


def find(frame: types.FrameType, name: str) -> object:
    return frame.f_locals.get(name, frame.f_globals.get(name, MISSING))


def worth_showing(value: object) -> bool:
    return value is not MISSING and not callable(value) and not isinstance(value, types.ModuleType)


def hint_for(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"Only the standard library and these packages are installed: {', '.join(installed()) or 'none'}."
    if isinstance(error, FileNotFoundError):
        found = files()
        wanted = os.path.basename(str(error.filename))
        near = [f"Write {name!r}. " for name in found if os.path.basename(name) == wanted]
        return f"{''.join(near[:1])}The files in the workspace are: {', '.join(found) or 'none'}."
    return ""


def installed() -> list[str]:
    names = os.listdir(PACKAGES) if os.path.isdir(PACKAGES) else []
    return sorted(name.removesuffix(".py") for name in names if name.removesuffix(".py").isidentifier())


def files() -> list[str]:
    found: list[str] = []
    looked_at = 0
    for folder, folders, names in os.walk(WORKSPACE):
        folders[:] = sorted(name for name in folders if not (name.startswith(".") or name in SKIPPED_FOLDERS))
        found += [os.path.relpath(os.path.join(folder, name), WORKSPACE) for name in sorted(names)]
        looked_at += len(names) + 1
        if len(found) >= MOST_FILES or looked_at > MOST_LOOKED_AT:
            break
    return found[:MOST_FILES]


if __name__ == "__main__":
    main()
