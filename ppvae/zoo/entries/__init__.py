"""The entries that ship, each a constructor.

The library is named as ``ppvae.nets`` and so on, which loads a part when it is first used, so that
names, options and help are there without torch.
"""

__all__: list[str] = []
