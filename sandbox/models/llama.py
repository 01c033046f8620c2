"""A Llama decoder in numpy: loss and its gradient, written by hand.

Called by the training only; a test compares every gradient with finite differences. Separate from
the optimizer so that the mathematics stands alone. Weights carry their GGUF names, are (out, in),
and rotary embedding turns interleaved pairs, as llama.cpp's Llama architecture does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Ids = npt.NDArray[np.integer]
Weights = dict[str, Array]

LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; `width` is a multiple of `heads`, heads are of even width."""

    vocabulary: int = 752
    layers: int = 3
    width: int = 128
    heads: int = 4
    feed_forward: int = 344
    context: int = 2048
    rope_base: float = 10_000.0

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def linear_shape(self, name: str) -> tuple[int, int]:
        """Return (out, in) of one of `LINEAR`."""
        if name == "ffn_down":
            return self.width, self.feed_forward
        if name.startswith("ffn_"):
            return self.feed_forward, self.width
        return self.width, self.width


def initial_weights(shape: Shape, rng: np.random.Generator, dtype: npt.DTypeLike) -> Weights:
    """Draw the weights a training starts from."""

    def normal(rows: int, columns: int, deviation: float) -> Array:
        return rng.normal(0.0, deviation, (rows, columns)).astype(dtype)

    weights: Weights = {"token_embd.weight": normal(shape.vocabulary, shape.width, 0.05)}
    residual = 1.0 / np.sqrt(2 * shape.layers)
    for layer in range(shape.layers):
        for name in LINEAR:
            rows, columns = shape.linear_shape(name)
            deviation = columns**-0.5 * (residual if name in {"attn_output", "ffn_down"} else 1.0)
            weights[f"blk.{layer}.{name}.weight"] = normal(rows, columns, deviation)
        for norm in ("attn_norm", "ffn_norm"):
            weights[f"blk.{layer}.{norm}.weight"] = np.ones(shape.width, dtype)
    weights["output_norm.weight"] = np.ones(shape.width, dtype)
    weights["output.weight"] = normal(shape.vocabulary, shape.width, shape.width**-0.5)
    return weights


def _norm(x: Array, gain: Array) -> tuple[Array, Array, Array]:
    inverse = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPSILON)
    unit = x * inverse
    return unit * gain, unit, inverse


def _norm_backward(dy: Array, gain: Array, unit: Array, inverse: Array) -> tuple[Array, Array]:
    dgain = np.sum(dy * unit, axis=(0, 1))
    dunit = dy * gain
    dx = inverse * (dunit - unit * np.mean(dunit * unit, axis=-1, keepdims=True))
    return dx, dgain


def _rotation(shape: Shape, length: int, dtype: npt.DTypeLike) -> tuple[Array, Array]:
    half = shape.head_width // 2
    frequency = shape.rope_base ** (-np.arange(half) * 2.0 / shape.head_width)
    angle = np.outer(np.arange(length), frequency)
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn interleaved pairs; turning back is the same with `-sin`."""
    turned = np.empty_like(x)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned[..., 0::2] = even * cos - odd * sin
    turned[..., 1::2] = even * sin + odd * cos
    return turned


def _linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    flat_dy, flat_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ weight, flat_dy.T @ flat_x


class _Attention:
    """Causal self-attention of one layer; keeps what its own backward pass needs."""

    def __init__(self, weights: Weights, layer: int, shape: Shape) -> None:
        self.names = {n: f"blk.{layer}.{n}.weight" for n in LINEAR[:4]}
        self.weights, self.shape = weights, shape

    def _split(self, x: Array) -> Array:
        batch, length, _ = x.shape
        return x.reshape(batch, length, self.shape.heads, -1).transpose(0, 2, 1, 3)

    @staticmethod
    def _merge(x: Array) -> Array:
        batch, heads, length, width = x.shape
        return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)

    def forward(self, x: Array) -> Array:
        length = x.shape[1]
        self.x = x
        self.cos, self.sin = _rotation(self.shape, length, x.dtype)
        w = {n: self.weights[full] for n, full in self.names.items()}
        self.q = _rotate(self._split(x @ w["attn_q"].T), self.cos, self.sin)
        self.k = _rotate(self._split(x @ w["attn_k"].T), self.cos, self.sin)
        self.v = self._split(x @ w["attn_v"].T)
        scores = self.q @ self.k.transpose(0, 1, 3, 2) * self.shape.head_width**-0.5
        scores = np.where(np.tri(length, dtype=bool), scores, np.asarray(-1e9, x.dtype))
        exponent = np.exp(scores - scores.max(axis=-1, keepdims=True))
        self.probabilities = exponent / exponent.sum(axis=-1, keepdims=True)
        self.mixed = self._merge(self.probabilities @ self.v)
        return self.mixed @ w["attn_output"].T

    def backward(self, dy: Array, gradient: Weights) -> Array:
        w = {n: self.weights[full] for n, full in self.names.items()}
        p = self.probabilities
        dmixed, gradient[self.names["attn_output"]] = _linear_backward(
            dy, self.mixed, w["attn_output"]
        )
        dheads = self._split(dmixed)
        dv = p.transpose(0, 1, 3, 2) @ dheads
        dp = dheads @ self.v.transpose(0, 1, 3, 2)
        dscores = p * (dp - np.sum(dp * p, axis=-1, keepdims=True))
        dscores *= self.shape.head_width**-0.5
        dq = _rotate(dscores @ self.k, self.cos, -self.sin)
        dk = _rotate(dscores.transpose(0, 1, 3, 2) @ self.q, self.cos, -self.sin)
        dx = np.zeros_like(self.x)
        for name, d in (("attn_q", dq), ("attn_k", dk), ("attn_v", dv)):
            part, gradient[self.names[name]] = _linear_backward(self._merge(d), self.x, w[name])
            dx += part
        return dx


class _FeedForward:
    """SwiGLU of one layer; keeps what its own backward pass needs."""

    def __init__(self, weights: Weights, layer: int) -> None:
        self.names = {n: f"blk.{layer}.{n}.weight" for n in LINEAR[4:]}
        self.weights = weights

    def forward(self, x: Array) -> Array:
        w = {n: self.weights[full] for n, full in self.names.items()}
        self.x, self.gate, self.up = x, x @ w["ffn_gate"].T, x @ w["ffn_up"].T
        self.sigmoid = 1.0 / (1.0 + np.exp(-self.gate))
        self.hidden = self.gate * self.sigmoid * self.up
        return self.hidden @ w["ffn_down"].T

    def backward(self, dy: Array, gradient: Weights) -> Array:
        w = {n: self.weights[full] for n, full in self.names.items()}
        dhidden, gradient[self.names["ffn_down"]] = _linear_backward(dy, self.hidden, w["ffn_down"])
        dup = dhidden * self.gate * self.sigmoid
        dgate = dhidden * self.up * self.sigmoid * (1.0 + self.gate * (1.0 - self.sigmoid))
        dx, gradient[self.names["ffn_gate"]] = _linear_backward(dgate, self.x, w["ffn_gate"])
        part, gradient[self.names["ffn_up"]] = _linear_backward(dup, self.x, w["ffn_up"])
        return dx + part


def _cross_entropy(logits: Array, targets: Ids) -> tuple[float, Array]:
    """Return the mean loss in nats and its gradient; targets below zero do not count."""
    batch, length, vocabulary = logits.shape
    flat, wanted = logits.reshape(-1, vocabulary), targets.reshape(-1)
    counted = np.flatnonzero(wanted >= 0)
    shifted = flat - flat.max(axis=-1, keepdims=True)
    probabilities = np.exp(shifted)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    chosen = probabilities[counted, wanted[counted]]
    loss = float(-np.mean(np.log(np.maximum(chosen, 1e-30))))
    gradient = np.zeros_like(probabilities)
    gradient[counted] = probabilities[counted]
    gradient[counted, wanted[counted]] -= 1.0
    gradient /= len(counted)
    return loss, gradient.reshape(batch, length, vocabulary)


def loss_and_gradient(
    weights: Weights, shape: Shape, tokens: Ids, targets: Ids
) -> tuple[float, Weights]:
    """Return the mean cross entropy per token (nats) and its gradient for every weight.

    Shapes: `tokens` and `targets` are (batch, length); a negative target is not counted.
    """
    x: Array = weights["token_embd.weight"][tokens]
    kept: list[tuple[_Attention, _FeedForward, tuple[Array, Array], tuple[Array, Array]]] = []
    for layer in range(shape.layers):
        attention = _Attention(weights, layer, shape)
        feed = _FeedForward(weights, layer)
        normed, *first = _norm(x, weights[f"blk.{layer}.attn_norm.weight"])
        x = x + attention.forward(normed)
        normed, *second = _norm(x, weights[f"blk.{layer}.ffn_norm.weight"])
        x = x + feed.forward(normed)
        kept.append((attention, feed, (first[0], first[1]), (second[0], second[1])))
    final, unit, inverse = _norm(x, weights["output_norm.weight"])
    loss, dlogits = _cross_entropy(final @ weights["output.weight"].T, targets)

    gradient: Weights = {}
    dfinal, gradient["output.weight"] = _linear_backward(dlogits, final, weights["output.weight"])
    dx, gradient["output_norm.weight"] = _norm_backward(
        dfinal, weights["output_norm.weight"], unit, inverse
    )
    for layer in reversed(range(shape.layers)):
        attention, feed, first_norm, second_norm = kept[layer]
        name = f"blk.{layer}.ffn_norm.weight"
        part, gradient[name] = _norm_backward(
            feed.backward(dx, gradient), weights[name], *second_norm
        )
        dx = dx + part
        name = f"blk.{layer}.attn_norm.weight"
        part, gradient[name] = _norm_backward(
            attention.backward(dx, gradient), weights[name], *first_norm
        )
        dx = dx + part
    embedding = np.zeros_like(weights["token_embd.weight"])
    np.add.at(embedding, tokens.reshape(-1), dx.reshape(-1, shape.width))
    gradient["token_embd.weight"] = embedding
    return loss, gradient
