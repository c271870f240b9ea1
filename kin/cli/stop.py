"""`kin stop`. Apart from `kin run`, whose imports would come before the signal."""

from kin.cli.output import Call, Result


def stop_(call: Call) -> Result:
    """End the live runs of tasks."""
    from kin.runner.people.stop import stop
    from kin.store import tasks

    stopped = [stop(call.project, tasks.resolve(call.project, word), by=lambda: call.person) for word in call["ids"]]
    words = (
        "taken out of the queue",
        "at its end when it was stopped",
        "stopped; `kin run {0}` goes on from the last finished step",
    )
    lines = [f"{s.end.task}  {words[0 if s.queued else 1 if s.end.run is None else 2].format(s.end.task)}" for s in stopped]
    data = [{**s.end._asdict(), "pid": s.pid, "queued": s.queued} for s in stopped]
    return Result("pipeline.list", data, lines, brief=())
