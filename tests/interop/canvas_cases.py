"""Workflows as expressions that mean the same to both libraries.

Evaluated with the functions and tasks of one of them: see `namespace` in `test_canvas_wire`.
"""

from __future__ import annotations

#: Expressions whose signatures must be the same, key by key.
SIGNATURES = """
signature('add_numbers')
signature('add_numbers', (1, 2), {'a': 1}, countdown=3)
signature('add_numbers', args=[1, 2], kwargs={'a': 1}, options={'countdown': 3})
signature('add_numbers', args=(1,), immutable=True)
signature(a(1))
signature(dict(a(1)))
Signature('add_numbers', (1,), {}, {'a': 1}, subtask_type='x', foo=3)
Signature()
a(1, 2)
add.si(1, 2, k=1)
add.signature((1,), {'a': 2}, countdown=1)
add.subtask((1,))
a(1).set(countdown=3)
a(1).set(immutable=True, queue='x')
a(1).clone((2,), {'a': 3}, countdown=1)
add.si(1).clone((2,), {'a': 3}, countdown=1)
a(1).clone((2,)).clone((0,))
a(1, k=1).replace((2,))
a(1, k=1).replace(args=(2,), kwargs={}, options={'a': 1})
a(1).on_error(err.s())
linked(a(1), m(2), m(2), m(3))
add.map([1, 2])
add.starmap([(1, 2)])
add.chunks([(1, 2), (3, 4)], 1)
add.chunks(range(4), 2)
add.chunks([(1, 2), (3, 4), (5, 6)], 2).group()
xmap(a(), [1, 2], queue='a')
chain()
chain(a(1))
chain([a(1)])
chain(a(1), a(2))
chain(x for x in [a(1), a(2)])
chain(a(1), a(2), queue='x')
chain(chain(a(1), a(2)), a(3))
_chain(_chain(a(1), a(2)), a(3))
_chain(a(1), queue='u')
group(a(1), a(2))
group([a(1), a(2)])
group(a(1))
group()
group(a(i) for i in range(2))
group([a(1)], queue='x')
group(group(a(1), a(2)))
group([group(a(1), a(2)), a(3)])
group(a(1) | a(2))
chord([a(1)], t())
chord([a(1), a(2)], t(), queue='x')
chord([a(1), a(2)])
chord(group(a(1), a(2)), t())
chord(a(1), t())
chord((a(i) for i in range(2)), t())
chord([], t())
chord([a(1)], t(), args=(1,), kwargs={'z': 1})
chord([a(1)], t() | m(2))
chord([a(1)], group(t(), m()))
chord(a(1) | a(2), t())
chain(a(1), group(a(2), a(3)), group(a(4), a(5)), t())
chain(group(a(2), a(3)), group(a(4), a(5)), group(a(6), a(7)))
chain(a(1), chain(group(a(2), a(3)), t()), m(3))
chain(group(a(2), a(3)), chain(t(), m(4)))
(group(a(2), a(3)) | t()) | group(a(4), a(5)) | t() | a(6)
chain([chord([a(1), a(2)], t()), chord([a(3), a(4)], t())])
chain([a(0), chord([a(1), a(2)], t()), group(a(3), a(4)), a(5)])
chain([group(), a(1)])
chain([a(1), group(), a(2)])
chain([a(1), group(a(3)), a(2)])
_chain(a(1), a(2)).set(countdown=3, link=[m(1)], link_error=[err.s()]) | group(a(3), a(4))
a(1) | _chain(a(3), a(4)).set(countdown=4, link=[m(2)], link_error=[err.s(1)])
group(a(1), a(2)).set(countdown=4, link=[m(2)]) | group(a(1), a(2)).set(countdown=4)
_chain(a(1), a(2)).set(link=[m(3)], link_error=[err.s()], queue='z').unchain_tasks()
group(a(1), a(2)).set(immutable=True)
chord([a(1), a(2)], t()).set(immutable=True)
group(a(1), a(2), a(3)).skew(start=1, stop=10, step=2)
linked(group(a(1), a(2)), m(1), m(2))
linked(_chain(a(1), a(2)), m(1))
linked(chord([a(1), a(2)], t()), m(1))
linked(chord([a(1), a(2)], group(t(), t())), m(1))
failing(group(_chain(a(1), a(2)), chord([a(1)], t())), err.s())
failing(chord([a(1), a(2)], group(t(), _chain(t(), m(2)))), err.s())
failing(chord([chord([a(1)], t()), a(2)], t()), err.s())
failing(group(chord([chord([a(1)], group(t(), t())), a(2)], t()), a(1)), err.s())
stamped(a(1), foo='bar')
stamped(_chain(a(1), group(a(2), a(3))), foo='bar')
signature(loads(dumps(chain(a(0), group(a(1), a(2)), t()))))
signature(loads(dumps(chord([a(0), group(a(1), a(2))], t() | m(3)).set(queue='x'))))
pickled(chord([a(1), a(2)], t()))
""".strip().splitlines()

#: What is combined with ``|`` in every way.
OPERANDS = {
    "task": "a(1)",
    "immutable": "add.si(1)",
    "task with options": "a(1).set(countdown=5, link=[m(9)], link_error=[err.s()])",
    "chain": "_chain(a(1), m(2))",
    "chain with options": "_chain(a(1), m(2)).set(queue='q', link=[m(7)])",
    "chain of one": "chain(a(1))",
    "chain of none": "chain()",
    "chain to group": "_chain(a(1), group(a(10), a(11)))",
    "chain from group": "_chain(group(a(10), a(11)), a(3))",
    "chain to chord": "_chain(a(1), chord([a(2)], t()))",
    "group": "group(a(10), a(11))",
    "group with options": "group(a(10), a(11)).set(queue='q')",
    "group of one": "group(a(10))",
    "group of none": "group()",
    "group of a group": "group([group(a(1), a(2))])",
    "chord": "chord([a(20), a(21)], t())",
    "chord with options": "chord([a(20), a(21)], t(), queue='q')",
    "chord to chain": "chord([a(20), a(21)], t() | m(3))",
    "chord to group": "chord([a(20), a(21)], group(t(), t()))",
    "map": "add.map([1, 2])",
    "chunks": "add.chunks([(1, 2), (3, 4)], 1)",
}

#: Expressions whose messages and results must be the same, but for the ids.
SENT = """
a(1).apply_async((2,), {'k': 1}, queue='other', priority=3)
a(1).set(link=[m(3)], link_error=[err.s()]).apply_async()
a(1).apply_async(shadow='s', headers={'x': 1}, ignore_result=True, time_limit=3)
a(1).apply_async(root_id='r', parent_id='p', group_id='g', chord=t(9), group_index=7, task_id='x')
_chain(a(1), a(2), a(3)).apply_async((9,), {'k': 3})
_chain(a(1), a(2), a(3))(8)
_chain(a(1), a(2), a(3)).apply_async(task_id='x', link=m(1), link_error=err.s(), queue='other')
_chain(a(1), a(2), a(3)).set(task_id='x', link=m(1), link_error=[err.s()], priority=4).apply_async()
_chain(a(1).set(priority=5), a(2).set(queue='other')).apply_async()
_chain(a(1), _chain(a(2), a(3)), a(4)).apply_async()
_chain(a(1), group(a(2), a(3))).apply_async()
_chain(a(1), group(a(2), a(3)), t()).apply_async()
_chain(group(a(2), a(3)), t(), m(3)).apply_async()
_chain(group(a(2), a(3)), t()).apply_async(queue='other', link=m(1), link_error=err.s())
_chain(group(a(2), a(3))).apply_async(link=m(3), link_error=err.s())
_chain(chord([a(2), a(3)], t()), m(4)).apply_async()
_chain(a(1), chord([a(2), a(3)], t()), m(4)).apply_async()
_chain(a(1), chord([a(2), a(3)], _chain(t(), m(6))), m(4)).apply_async()
_chain(a(1), group(), a(2)).apply_async()
_chain(a(1), group(a(2)), a(3)).apply_async()
_chain(a(1).on_error(err.s()), a(2)).on_error(err.s(9)).apply_async()
_chain(a(1), group(a(2), a(3)), t()).on_error(err.s(9)).apply_async()
_chain(a(1).set(task_id='x'), a(2).set(task_id='y')).apply_async()
group(a(1), a(2)).apply_async((7,), {'k': 1})
group(a(1).set(queue='q'), a(2)).apply_async(queue='other', priority=2)
group(a(1), a(2)).set(link=[m(3)], link_error=[err.s()]).apply_async()
group(_chain(a(1), a(2)), a(3)).apply_async((5,), queue='other')
group(_chain(a(1), group(a(2), a(4))), a(3)).apply_async()
group(chord([a(1), a(2)], t()), a(3)).apply_async()
group(a(i) for i in range(3)).apply_async()
group().apply_async()
chord([a(1), a(2)], t()).apply_async((4,), {'k': 1})
chord([a(1), a(2)])(t(), queue='other')
chord([a(1), a(2)], t()).apply_async(queue='other', priority=4, task_id='x')
chord([a(1), a(2)], t()).set(link=[m(2)], link_error=[err.s()]).apply_async()
chord([a(1).on_error(err.s()), a(2)], t().on_error(err.s())).apply_async()
chord([chord([a(1), a(2)], t()), a(3)], t()).apply_async()
chord([_chain(a(1), a(2)), a(3)], t()).apply_async()
chord([a(1)], t()).apply_async()
chord([], t()).apply_async()
chord([group()], t()).apply_async()
chord((a(i) for i in range(2)), t()).apply_async()
add.map([1, 2]).apply_async()
add.starmap([(1, 2)]).apply_async(queue='other')
add.chunks([(1, 2), (3, 4)], 1).apply_async(queue='other')
(a(1) | add.chunks([(1, 2), (3, 4)], 1)).apply_async()
chain(add.map([1]), t(), add.map([2])).apply_async()
chunks.apply_chunks(a(), [(1, 2), (3, 4)], 1)
stamped(group(a(1), a(2)), foo='bar').apply_async()
signature(loads(dumps(chain(a(0), group(a(1), a(2)), t())))).apply_async()
""".strip().splitlines()

#: Expressions whose results, run here and now, must be the same.
EAGER = """
a(1)
chain(a(1), a(2), m(3))
chain(a(1), group(a(2), a(3)), t(), m(2))
_chain(group(a(2), a(3)), group(t(), t()), t())
group(_chain(a(1), group(a(2), a(3))), a(3))
group([group(a(1), a(2)), a(3)])
chord([a(1), a(2)], t() | m(3))
chord([chord([a(1), a(2)], t()), a(3)], t())
chord([_chain(a(1), group(a(2), a(5))), a(3)], echo.s())
chord([], t())
add.map([1, 2])
add.starmap([(1, 2), (3, 4)])
""".strip().splitlines()
