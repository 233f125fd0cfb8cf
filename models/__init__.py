"""Generative programs, one idea a file.

Each is a :class:`torch.nn.Module` whose ``forward`` samples the sites of its factorisation in
order. The networks are handed in ready-made; the head of a network chooses the likelihood.
"""

if __name__ != "ppvae.models":
    raise ImportError("import ppvae.models, not models")
