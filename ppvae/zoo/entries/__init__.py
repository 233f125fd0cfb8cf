"""The entries that ship, each a constructor.

The modules write ``ppvae.nets`` and so on, which loads a package when it is first used, so that
names, options and help are available without importing torch.
"""

__all__: list[str] = []
