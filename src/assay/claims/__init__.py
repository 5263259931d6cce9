"""Published claims as data: arithmetic between facts, ratios of peaks, factors of performance, verdicts."""
