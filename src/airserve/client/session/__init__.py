"""Sessions: frames of a camera or a sensor, many a second, answered while the link comes and goes."""
