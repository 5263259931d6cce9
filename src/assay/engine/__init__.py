"""One step of a serving engine, and the steady state that repeats it."""
