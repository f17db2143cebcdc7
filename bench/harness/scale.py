def measurements(bench):
    return []
