"""Predictions against measurements: residuals, fits and intervals."""
