"""Which points a sweep tries next (`samplers`), and which it gives up (`halving`)."""
