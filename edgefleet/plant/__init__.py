"""The factory floor, simulated: cameras that never stop, QA stations that know the truth."""
