"""`kin publish` and `kin ci`: kin's part in a CI host's jobs, beside `kin run --push`."""

from kin.cli.output import Call, Result


def publish_(call: Call) -> Result:
    """Land what a job without the right to push handed over."""
    from kin.cli.job import told

    return told(call, _publish)


def _publish(call: Call) -> Result:
    from kin.cli.consent import consent
    from kin.cli.run import report, starter
    from kin.cli.show_run import Display
    from kin.runner.begin import Asked
    from kin.runner.publish import plan_of, publish
    from kin.runner.signals import Cancel

    asked = Asked(base=call["base"], started_by=starter(call), push=True)
    plan, oid = plan_of(call.project, call["file"], asked, call.environ)
    consent(call, [plan], steps=False)
    with Display(call.screen, alone=True) as display, Cancel() as cancel:
        outcome = publish(call.project, plan, oid, asked, environ=call.environ, emit=display.hear, cancel=cancel)
    return report([outcome], told=True)
