"""Variational families, one idea a file.

Each is a :class:`torch.nn.Module` over the same columns as the model it serves, and samples that
model's latent sites. Any guide that offers a model's sites pairs with it.
"""

if __name__ != "ppvae.guides":
    raise ImportError("import ppvae.guides, not guides")
