"""Claiming a task: a slot, the task's lock and its children's lock, held by this process for as long as it lives."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from kin.errors import Busy
from kin.runner.process.events import Caller, Event
from kin.runner.process.reap import end_leftovers
from kin.store import config, locks
from kin.store.project import Project, state_folder


def _slot_paths(project: Project, slots: int) -> list[str]:
    return [locks.lock_path(project.common, f"slot-{n}") for n in range(1, slots + 1)]


def free_slots(project: Project, slots: int) -> int:
    """How many of the clone's slots no live process holds. A count of `running` records would not see the dead."""
    return sum(not locks.is_held(path) for path in _slot_paths(project, slots))


@contextmanager
def claim_all(project: Project, task_id: str, slots: int, caller: Caller, wait: float) -> Iterator[locks.Held]:
    """Hold one of the clone's slots, which comes out, one of the machine's if the person limits them, and the task's lock.

    Raises Busy if others hold all slots, after `wait` seconds in which the task is seen as queued.
    """
    limit = config.user_settings(caller.environ).get("concurrency")
    with ExitStack() as held:
        queue = held.enter_context(_queue(project, task_id)) if wait else None

        def take(paths: Sequence[str], what: str, way: str) -> locks.Held:
            try:
                return held.enter_context(locks.wait_any(paths, locks.GRACE, what=what))
            except Busy:
                if queue is None:
                    raise Busy(f"all {what} are taken", way, slots=True) from None
            caller.emit(Event(task_id, "queue", text=f"all {what} are taken, so it waits in the queue"))
            return held.enter_context(locks.wait_any(paths, wait, what=f"one of {what}", cancel=caller.cancel))

        slot = take(_slot_paths(project, slots), f"{slots} slots", "`kin status` shows by whom; `--wait` queues")
        if limit is not None:
            most = config.machine_slots(limit)
            paths = [locks.lock_path(state_folder(caller.environ), f"machine-{n}") for n in range(1, most + 1)]
            take(paths, f"this machine's {most} slots", "`kin run --wait` queues; config.yaml says how many there are")
        held.enter_context(claim_task(project, task_id))
        if queue is not None:
            queue.close()  # only now: who looks for the task in the queue and then among what runs must not miss it
        yield slot


def _queue(project: Project, task_id: str) -> locks.Held:
    held = locks.try_lock(locks.lock_path(project.common, f"{task_id}.queued"))
    if held is None:
        raise Busy(
            f"{task_id} is in the queue already", f"`kin why {task_id}` shows behind whom, `kin stop {task_id}` takes it out"
        )
    return held


def claim_task(project: Project, task_id: str) -> locks.Held:
    """Take the task's lock. Raises Busy if the task is being run: it says by whom, and how to look at it or end it."""
    path = locks.lock_path(project.common, task_id)
    if (held := locks.try_lock(path)) is not None:
        return held
    who = locks.holder(path)
    by = f" by pid {who.pid} since {who.since}" if who else ""
    hint = f"`kin log -f {task_id}` shows it, `kin stop {task_id}` ends it"
    raise Busy(f"{task_id} is being run{by}", hint, holder=who._asdict() if who else None)


def claim_kids(project: Project, task_id: str, run: str, dead: str | None) -> locks.Held:
    """Take the lock that all children of `run` inherit, after ending what an earlier, dead run left behind.

    Only who holds the task's lock may call this. `dead` is the earlier run if it died: many clients close inherited
    descriptors, so a free lock does not prove that nothing of it lives, and its marker is searched for too.
    """
    path = locks.lock_path(project.common, f"{task_id}.kids")
    before = locks.holder(path)
    if dead or locks.is_held(path):
        end_leftovers(path, dead or (before.run if before else ""), 10.0)
    return locks.wait_lock(path, 5.0, run=run, what=f"the agent that an earlier run of {task_id} left behind")
