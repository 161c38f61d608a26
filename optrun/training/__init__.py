"""Training: from a spec to a state, and the loop that changes it. Knows no paths, prints nothing."""
