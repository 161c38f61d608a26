"""What a configuration may name: models, data sets, optimizers, schedulers, losses, metrics and what they are made of.

`registry` knows every name and its settings without importing torch; the other modules build the real thing.
Nothing here knows what a configuration file looks like.
"""
