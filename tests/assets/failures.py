"""Which step of a run failed, and with what message."""


def failure_of(result):
    """Return the message of the one step that failed, and its event."""
    (event,) = [e for e in result.all_events if e.is_step_failure]
    return event.step_failure_data.error.message, event
