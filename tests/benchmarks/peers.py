"""Other task queues."""


def measurements(redis):
    return []
