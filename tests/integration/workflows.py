"""A project for workflows, and the workflows that every broker and backend must run right."""

from __future__ import annotations

CODE = """
import importlib

canvas = importlib.import_module(Celery.__module__.split(".")[0] + ".canvas")
chain, group, chord = canvas.chain, canvas.group, canvas.chord

@app.task(name="t.add")
def add(x, y=1):
    return x + y

@app.task(name="t.mul")
def mul(x, y=2):
    return x * y

@app.task(name="t.total")
def total(numbers):
    return sum(numbers)

@app.task(name="t.echo")
def echo(*args):
    return list(args)

@app.task(name="t.fail")
def fail(*args):
    raise ValueError("failed on purpose")

@app.task(name="t.note")
def note(value, path):
    with open(path, "a") as file:
        file.write(f"{value}\\n")
    return value

@app.task(name="t.place", bind=True)
def place(self, *args):
    r = self.request
    return {"id": r.id, "root_id": r.root_id, "parent_id": r.parent_id, "group": r.group,
            "group_index": r.group_index, "stamps": r.stamps or {}}

@app.task(name="t.swap", bind=True)
def swap(self, kind, *args):
    return self.replace({
        "task": lambda: add.s(1, 2),
        "chain": lambda: chain(add.s(1, 2), mul.s(3)),
        "group": lambda: group(add.s(1, 2), add.s(3, 4)),
        "chord": lambda: chord([add.s(1, 2), add.s(3, 4)], total.s()),
        "swap": lambda: swap.s("chain"),
        "swap group": lambda: swap.s("group"),
        "swap chord": lambda: swap.s("chord"),
    }[kind]())

@app.task(name="t.pid")
def pid(*args):
    return os.getppid()
"""

#: Workflows and what they return.
RETURNS = {
    "chain(add.s(1, 2), mul.s(3), add.s(4), mul.s(5))": 65,
    "chain(add.s(1, 2), add.si(5, 5), mul.s(2))": 20,
    "group(add.s(i, i) for i in range(20))": [2 * i for i in range(20)],
    "group([group(add.s(1, 2), add.s(3, 4)), add.s(5, 6)])": [3, 7, 11],
    "group(chain(add.s(1, 2), mul.s(3)), add.s(5, 6))": [9, 11],
    "group(chain(add.s(1, 2), group(mul.s(3), mul.s(4))), add.s(5, 6))": [[9, 12], 11],
    "chain(add.s(1, 2), group(add.s(1), add.s(2)))": [4, 5],
    "add.map([1, 2])": [2, 3],
    "add.starmap([(1, 2), (3, 4)])": [3, 7],
    "add.chunks([(1, 2), (3, 4), (5, 6)], 2)": [[3, 7], [11]],
    "chain(add.map([1, 2]), total.s())": 5,
}

#: Workflows for backends that can do chords, and what they return.
CHORDS_RETURN = {
    "chord([add.s(1, 2), add.s(3, 4)], total.s())": 10,
    "chord([add.s(i, 0) for i in range(50)], total.s())": sum(range(50)),
    "chord([add.s(1, 1)], total.s())": 2,
    "chord([], total.s())": 0,
    "chord([add.s(1, 2), add.s(3, 4)], total.s() | mul.s(2))": 20,
    "chord([add.s(1, 2), add.s(3, 4)], group(total.s(), echo.s()))": [10, [[3, 7]]],
    "chord([add.s(1, 2), add.s(3, 4)], group(total.s(), total.s())) | total.s()": 20,
    "chord([chord([add.s(1, 2), add.s(3, 4)], total.s()), add.s(5, 6)], total.s())": 21,
    "chord([chain(add.s(1, 2), mul.s(3)), add.s(5, 6)], total.s())": 20,
    "chord([group(add.s(1, 2), add.s(3, 4)), add.s(5, 6)], echo.s())": [[3, 7, 11]],
    "chain(add.s(1, 2), group(add.s(1), add.s(2)), total.s(), mul.s(3), add.s(7))": 34,
    "chain(group(add.s(1, 2), add.s(3, 4)), total.s(), group(add.s(1), add.s(2)), total.s())": 23,
    "chain(group(add.s(1, 2), add.s(3, 4)), group(total.s(), total.s()), total.s())": 20,
    "chain(add.s(1, 2), chord([add.s(1), add.s(2)], total.s()), mul.s(2))": 18,
    "group(add.s(1, 2), add.s(3, 4)) | group(echo.s(), total.s())": [[[3, 7]], 10],
    "chain(group(chain(add.s(1, 2), mul.s(2)), add.s(1, 1)), total.s())": 8,
}

#: Workflows in which a task replaces itself, and what they return.
SWAPS_RETURN = {
    "swap.s('task')": 3,
    "swap.s('chain')": 9,
    "swap.s('swap')": 9,
    "swap.s('group')": [3, 7],
    "swap.s('chord')": 10,
    "chain(swap.s('task'), add.s(1))": 4,
    "chain(swap.s('chain'), add.s(1))": 10,
    "chain(swap.s('group'), total.s())": 10,
    "chain(swap.s('chord'), add.s(1))": 11,
    "chord([swap.s('task'), add.s(1, 1)], total.s())": 5,
    "chord([swap.s('chain'), add.s(1, 1)], total.s())": 11,
    "chord([swap.s('chord'), add.s(1, 1)], total.s())": 12,
    "chord([swap.s('group'), add.s(1, 1)], echo.s())": [[[3, 7], 2]],
    "group(swap.s('chord'), swap.s('task'))": [10, 3],
    "chain(swap.s('swap'), add.s(1))": 10,
    "chain(add.s(1, 2), swap.si('swap group'), total.s())": 10,
    "group(swap.s('swap'), swap.s('swap chord'))": [9, 10],
    "chord([swap.s('swap'), swap.s('swap chord'), add.s(1, 1)], total.s())": 21,
    "chord([swap.s('swap group'), add.s(1, 1)], echo.s())": [[[3, 7], 2]],
    "chord([add.s(1, 2), add.s(3, 4)], swap.si('swap chord'))": 10,
    "chord([add.s(1, 2), add.s(3, 4)], swap.si('swap group')) | total.s()": 10,
}

#: Chains in which a task replaces itself, and what each step returns, the last one first.
STEPS_RETURN = {
    "chain(add.s(1, 1), swap.si('task'), add.s(1))": [4, 3, 2],
    "chain(add.s(1, 1), swap.si('chain'), add.s(1))": [10, 9, 2],
    "chain(add.s(1, 1), swap.si('group'), total.s())": [10, [3, 7], 2],
    "chain(add.s(1, 1), swap.si('chord'), add.s(1))": [11, 10, 2],
    "chain(swap.s('swap'), add.s(1), add.s(2))": [12, 10, 9],
    "chain(swap.s('swap chord'), group(add.s(1), add.s(2)))": [[11, 12], 10],
}

#: Workflows that fail as a whole, wherever in them it begins, and call their errback once.
FAILS = [
    "chain(fail.s(), add.s(1), add.s(2))",
    "chain(fail.s(), group(add.s(1), add.s(2)))",
]

#: The same for backends that can do chords.
CHORDS_FAIL = [
    "chain(fail.s(), group(add.s(1), add.s(2)), total.s())",
    "chain(fail.s(), group(add.s(1), add.s(2)), total.s(), add.s(1))",
    "chord([fail.s(), add.s(1, 1)], total.s() | add.s(1))",
    "chord([fail.s(), add.s(1, 1)], chord([total.s(), total.s()], total.s()))",
    "group(fail.s(), add.s(1, 1)) | group(total.s(), total.s()) | total.s() | add.s(1)",
    "chord([chord([fail.s(), add.s(1, 1)], total.s()), add.s(1, 1)], total.s())",
    "chord([chord([fail.s(), add.s(1, 1)], total.s() | add.s(1)), add.s(1, 1)], total.s())",
    "chord([chord([fail.s()], group(total.s(), total.s())), add.s(1, 1)], total.s())",
    "chord([chain(fail.s(), group(add.s(1), add.s(2)), total.s()), add.s(1, 1)], total.s())",
    "chord([chain(fail.s(), group(add.s(1), add.s(2))), add.s(1, 1)], total.s())",
    "chord([chain(fail.s(), chord([add.s(1)], total.s())), add.s(1, 1)], total.s())",
    "chain(group(fail.s(), add.s(1, 1)), total.s(), group(add.s(1), add.s(2)), total.s())",
]

#: How often the errback of one of these is called, if not once: errbacks of a chord are those of
#: chords in its header too, and of each task of a body that is a group.
ERRBACK_CALLS = {
    "chord([chord([fail.s(), add.s(1, 1)], total.s()), add.s(1, 1)], total.s())": 2,
    "chord([chord([fail.s(), add.s(1, 1)], total.s() | add.s(1)), add.s(1, 1)], total.s())": 2,
    "chord([chord([fail.s()], group(total.s(), total.s())), add.s(1, 1)], total.s())": 3,
}
