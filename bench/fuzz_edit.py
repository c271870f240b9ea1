"""Coverage-guided fuzzing of edits: no crash, no damage. Needs atheris; `python bench/fuzz_edit.py -max_total_time=600`.

What libFuzzer finds is a text and a change. The edit must be refused, or give a text that says the old one's data with that
change made, by the independent telling in `tests/edits.py`.
"""

import os
import sys

import atheris

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]

with atheris.instrument_imports(include=["kin", "ruamel"]):
    from edits import changed

    from kin.errors import Invalid
    from kin.store.text.nodes import TASK_BOUNDS, plain
    from kin.store.text.reader import read
    from kin.store.text.splice import AddItem, Change, DropItem, Remove, Set, edit
    from kin.store.text.strict import parse


def some_change(data: atheris.FuzzedDataProvider) -> Change:
    """A change of any kind at a path that seeds have."""
    path: tuple[str | int, ...] = (data.PickValueInList(["id", "status", "labels", "a", "b", "x-new", "description"]),)
    if data.ConsumeBool():
        path = (*path, data.PickValueInList(["kind", "a", 0, 1]))
    text = data.ConsumeUnicodeNoSurrogates(12)
    kind = data.ConsumeIntInRange(0, 4)
    if kind == 0:
        return Set(path, text)
    if kind == 1:
        return Set(path, [text, data.ConsumeUnicodeNoSurrogates(4)])
    return Remove(path) if kind == 2 else AddItem(path, text) if kind == 3 else DropItem(path, text)


def one(raw: bytes) -> None:
    """One text, one change."""
    data = atheris.FuzzedDataProvider(raw)
    change = some_change(data)
    text = data.ConsumeUnicodeNoSurrogates(len(raw))
    try:
        old = read(text, "f.yaml")
        new = edit(text, [change], aliases={})
    except Invalid:
        return
    assert changed(old, change) == plain(parse(new, "f.yaml", TASK_BOUNDS)) == read(new, "f.yaml")
    assert old != changed(old, change) or new == text


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
