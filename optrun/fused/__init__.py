"""Many runs trained as one, each with the bits that it has alone.

`grouping` says which runs may (without torch); `tensor` and `rules` run an unmodified model on stacked parameters,
`optimizers` and `clipping` update them, `stack` holds all of it and `loop` trains it; `probe` compares it with its
members alone. docs/fused.md says why each rule is exact.
"""
