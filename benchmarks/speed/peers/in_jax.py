"""The VAEs of rows.py in JAX: equinox and optax, and numpyro.

Networks, initial weights, likelihood, divergence and optimiser are those of rows.py. An epoch is
one compiled scan over its batches ("equinox", "numpyro"), or a call of a compiled update at each
step ("..., jitted"). Convolutions keep the channels last, which XLA prefers on a processor.
"""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

VERSION = f"jax {jax.__version__}, equinox {eqx.__version__}, optax {optax.__version__}"
HIDDEN, LATENT, FIRST = 400, 50, 128


class Dense(eqx.Module):
    """A linear layer on batches."""

    weight: jax.Array
    bias: jax.Array

    def __init__(self, size, width, key):
        bound = 1 / math.sqrt(size)
        one, two = jax.random.split(key)
        self.weight = jax.random.uniform(one, (size, width), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(two, (width,), minval=-bound, maxval=bound)

    def __call__(self, value):
        return value @ self.weight + self.bias


class Conv(eqx.Module):
    """A 3 x 3 convolution (N, H, W, C)."""

    weight: jax.Array
    bias: jax.Array
    stride: int = eqx.field(static=True)

    def __init__(self, size, width, key, stride=1):
        bound = 1 / math.sqrt(9 * size)
        one, two = jax.random.split(key)
        self.weight = jax.random.uniform(one, (3, 3, size, width), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(two, (width,), minval=-bound, maxval=bound)
        self.stride = stride

    def __call__(self, value):
        return self.bias + jax.lax.conv_general_dilated(
            value,
            self.weight,
            (self.stride, self.stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


class Layers(eqx.Module):
    """Layers with an activation between them."""

    layers: list

    def __call__(self, value):
        for layer in self.layers[:-1]:
            value = jax.nn.silu(layer(value))
        return self.layers[-1](value)


class ConvEncoder(eqx.Module):
    convolutions: list
    dense: Layers

    def __call__(self, value):
        for layer in self.convolutions:
            value = jax.nn.silu(layer(value))
        return self.dense(value.reshape(len(value), -1))


class ConvDecoder(eqx.Module):
    first: Dense
    convolutions: list
    last: Conv
    size: int = eqx.field(static=True)

    def __call__(self, value):
        value = self.first(value).reshape(len(value), self.size, self.size, -1)
        value = jax.nn.silu(value)
        for layer in self.convolutions:
            value = jax.nn.silu(layer(value.repeat(2, axis=1).repeat(2, axis=2)))
        return self.last(value)


def networks(shape, key):
    """Encoder and decoder: an MLP for digits, else the default convolutions of a square image."""
    keys = iter(jax.random.split(key, 20))
    channels, height, _ = shape
    if channels == 1:
        pixels = math.prod(shape)
        encoder = [Dense(pixels, HIDDEN, next(keys)), Dense(HIDDEN, 2 * LATENT, next(keys))]
        decoder = [Dense(LATENT, HIDDEN, next(keys)), Dense(HIDDEN, pixels, next(keys))]
        return Layers(encoder), Layers(decoder)
    depth = max(1, min(5, math.ceil(math.log2(height / 7))))
    widths = [min(16 * 2**i, 128) for i in range(depth)]
    size = height // 2**depth
    down = [
        Conv(before, after, next(keys), stride=2)
        for before, after in zip([channels, *widths], widths, strict=False)
    ]
    flat = widths[-1] * size * size
    encoder = ConvEncoder(
        down,
        Layers([Dense(flat, FIRST, next(keys)), Dense(FIRST, 2 * LATENT, next(keys))]),
    )
    back = widths[::-1]
    up = [
        Conv(before, after, next(keys))
        for before, after in zip(back, [*back[1:], back[-1]], strict=True)
    ]
    decoder = ConvDecoder(
        Dense(LATENT, flat, next(keys)), up, Conv(back[-1], channels, next(keys)), size
    )
    return encoder, decoder


def code(raw):
    loc, raw = jnp.split(raw, 2, axis=-1)
    return loc, jax.nn.softplus(raw) + 1e-4


def images_of(task):
    """Images as the networks take them: rows of pixels, or channels last."""

    def arrange(images):
        if images.shape[1] == 1:
            return jnp.asarray(images.reshape(len(images), -1))
        return jnp.asarray(images.transpose(0, 2, 3, 1))

    images = task.images()
    test = None if task.test is None else arrange(np.load(task.test))
    return images.shape[1:], arrange(images), test


def make(name, task):
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if task.tf32 else "highest")
    assert jax.default_backend() == {"cpu": "cpu", "cuda": "gpu"}[task.device]
    return (equinox if name.startswith("equinox") else numpyro)(name, task)


def epochs(name, task, step, state, rows):
    """Runs of an epoch with ``step(state, rows)``, and the state that they leave."""
    now = {"state": state}
    generator = np.random.default_rng(task.seed)

    @partial(jax.jit, donate_argnums=0)
    def epoch(state, rows):
        state, losses = jax.lax.scan(step, state, rows)
        return state, losses[-1]

    one = jax.jit(step, donate_argnums=0)

    def run():
        order = generator.permutation(rows).reshape(-1, task.batch)
        if name.endswith("jitted"):
            for rows_of_step in order:
                now["state"], value = one(now["state"], rows_of_step)
        else:
            now["state"], value = epoch(now["state"], order)
        return float(value)

    return run, now


def mean_loss(nets, x, key):
    """The negative ELBO (nats per datum), with the divergence in closed form."""
    encoder, decoder = nets
    loc, scale = code(encoder(x))
    z = loc + scale * jax.random.normal(key, loc.shape)
    kl = 0.5 * (scale**2 + loc**2 - 1 - 2 * jnp.log(scale)).sum()
    return (optax.sigmoid_binary_cross_entropy(decoder(z), x).sum() + kl) / len(x)


def equinox(name, task):
    shape, images, test = images_of(task)
    nets = networks(shape, jax.random.key(task.seed))
    optimizer = optax.adam(task.rate)
    weights, static = eqx.partition(nets, eqx.is_inexact_array)

    def loss(weights, x, key):
        return mean_loss(eqx.combine(weights, static), x, key)

    def step(carry, rows):
        weights, state, key = carry
        key, own = jax.random.split(key)
        value, gradient = jax.value_and_grad(loss)(weights, images[rows], own)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(weights, updates), state, key), value

    carry = (weights, optimizer.init(weights), jax.random.key(task.seed + 1))
    run, now = epochs(name, task, step, carry, len(images))
    whole = jax.jit(loss)

    def elbo():
        weights, _, key = now["state"]
        return -float(whole(weights, test, key))

    return run, elbo


def numpyro(name, task):
    import numpyro
    from numpyro import distributions as dist
    from numpyro.contrib.module import eqx_module
    from numpyro.infer import SVI, TraceMeanField_ELBO
    from numpyro.optim import Adam

    shape, images, test = images_of(task)
    encoder, decoder = networks(shape, jax.random.key(task.seed))

    def model(x):
        decode = eqx_module("decoder", decoder)
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((len(x), LATENT)), 1).to_event(1))
            likelihood = dist.Bernoulli(logits=decode(z)).to_event(x.ndim - 1)
            numpyro.sample("x", likelihood, obs=x)

    def guide(x):
        encode = eqx_module("encoder", encoder)
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", dist.Normal(*code(encode(x))).to_event(1))

    svi = SVI(model, guide, Adam(task.rate), TraceMeanField_ELBO())

    def step(state, rows):
        state, loss = svi.update(state, images[rows])
        return state, loss / task.batch

    state = svi.init(jax.random.key(task.seed), images[: task.batch])
    run, now = epochs(name, task, step, state, len(images))
    whole = jax.jit(svi.evaluate)

    def elbo():
        return -float(whole(now["state"], test)) / len(test)

    return run, elbo
