"""Training of a denoiser's network in torch, on whitened vectors; the only module that computes with torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.utils.arrays import Array
from dts_gym.utils.extras import missing_extra
from dts_gym.utils.progress import progress_bar

_FREQUENCIES = 8  # number of frequencies in the time embedding
_EVALUATE_EVERY, _PATIENCE = 100, 15  # in steps; number of evaluations without improvement before training stops
_HELD_OUT_ROWS = 4096  # least number of noisy held-out vectors


class TrainingSettings(NamedTuple):
    """Settings of the network and its training.

    Attributes
    ----------
    alpha_bars : (L,) values of ``abar_l`` of the forward process.
    hidden, blocks : width and number of residual blocks.
    batch_size, learning_rate : batch size and initial learning rate of Adam.
    device : PyTorch device to train on.
    progress : whether to show a progress bar.
    """

    alpha_bars: Array
    hidden: int
    blocks: int
    batch_size: int
    learning_rate: float
    device: str
    progress: bool


class Trainer:
    """The network in torch, its running average, and the steps that train it.

    Parameters
    ----------
    settings : settings of the network and its training.
    dim : d, the dimension of the vectors.
    seed : seed for the weights and all noise.

    Raises
    ------
    ImportError
        If torch is not installed.
    ValueError
        If torch cannot use the device.

    Notes
    -----
    The network is that of `DenoiserNetwork`, its time embedding a perceptron of the log ratio of signal to noise. All
    parameters are one vector, of which the layers are views: Adam and the average need one operation each. The loss
    is the mean square error of the velocity, with equal weight for all levels.
    """

    def __init__(self, settings: TrainingSettings, dim: int, seed: int) -> None:
        torch = torch_on(settings.device)
        self._torch, self._settings, self._dim = torch, settings, dim
        self._generator = torch.Generator().manual_seed(seed)
        H, B, E = settings.hidden, settings.blocks, 2 * _FREQUENCIES + 1
        self._shapes = {
            "first": (H, dim), "inner": (B, H, H), "outer": (B, H, H), "last": (dim, H), "last_bias": (dim,),
            "embed": (H, E), "embed_bias": (H,), "spread": ((B + 1) * H, H), "spread_bias": ((B + 1) * H,),
        }  # fmt: skip
        parts = []
        for name, shape in self._shapes.items():
            part = torch.randn(shape, generator=self._generator) / math.sqrt(shape[-1])
            # The outputs of the blocks and of the network start at zero: the best Gaussian model.
            parts.append((0.0 if name in ("outer", "last") or name.endswith("bias") else 1.0) * part.reshape(-1))
        self._flat = torch.cat(parts).to(settings.device).requires_grad_()
        self._average = self._flat.detach().clone()
        self._bars = self._on_device(torch.tensor(settings.alpha_bars, dtype=torch.float32))
        self._features = self._on_device(torch.tensor(_time_features(settings.alpha_bars), dtype=torch.float32))

    def train(self, inner: Array, outer: Array, steps: int, what: str) -> None:
        """Train until the held-out loss no longer falls, and keep the running average for which it was least.

        Parameters
        ----------
        inner : (n, d) vectors to train on.
        outer : (m, d) held-out vectors.
        steps : largest number of steps; the learning rate falls to zero over them by half a cosine.
        what : text of the progress bar.
        """
        with _one_thread(self._torch):
            self._train(inner, outer, steps, what)

    def _train(self, inner: Array, outer: Array, steps: int, what: str) -> None:
        torch, settings = self._torch, self._settings
        L = len(settings.alpha_bars)
        x = self._on_device(torch.tensor(inner, dtype=torch.float32))
        held = torch.tensor(outer, dtype=torch.float32).repeat(-(-_HELD_OUT_ROWS // len(outer)), 1)
        held_levels = torch.randperm(len(held), generator=self._generator) % L
        held_noise = torch.randn(held.shape, generator=self._generator)
        held, held_levels, held_noise = (self._on_device(part) for part in (held, held_levels, held_noise))
        optimiser = torch.optim.Adam([self._flat], lr=settings.learning_rate, betas=(0.9, 0.99))
        n = settings.batch_size
        best, best_average, waited = math.inf, self._average.clone(), 0
        for step in progress_bar(range(steps + 1), settings.progress, steps + 1, what):
            if step % _EVALUATE_EVERY == 0 or step == steps:
                with torch.no_grad():
                    loss = float(self._loss(self._average, held, held_levels, held_noise))
                if loss < best:
                    best, best_average, waited = loss, self._average.clone(), 0
                else:
                    waited += 1
                if waited > _PATIENCE:
                    break
            rows = torch.randint(len(x), (n,), generator=self._generator)
            # One level in each of n equal parts of the levels' range: less noise in the gradient.
            levels = ((torch.arange(n) + torch.rand(n, generator=self._generator)) * (L / n)).long().clamp(max=L - 1)
            noise = torch.randn((n, self._dim), generator=self._generator)
            rows, levels, noise = (self._on_device(part) for part in (rows, levels, noise))
            warm = min(1.0, (step + 1) / 100)
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / max(steps, 1)))
            optimiser.zero_grad()
            self._loss(self._flat, x[rows], levels, noise).backward()
            optimiser.step()
            with torch.no_grad():
                self._average.lerp_(self._flat, 1.0 - min(0.998, (step + 1) / (step + 10)))
        self._average = best_average
        with torch.no_grad():
            self._flat.copy_(best_average)

    def network(self) -> DenoiserNetwork:
        """The averaged network in NumPy, with its time embedding computed for each step."""
        with self._torch.no_grad():
            layers = self._layers(self._average)
            times = self._times(layers)
        layers["times"] = times
        return DenoiserNetwork(*(layers[name].double().cpu().numpy() for name in DenoiserNetwork._fields))

    def _loss(self, flat: Any, x: Any, levels: Any, noise: Any) -> Any:
        layers = self._layers(flat)
        bar = self._bars[levels][:, None]
        signal, sigma = bar.sqrt(), (1.0 - bar).sqrt()
        velocity = self._velocity(layers, signal * x + sigma * noise, self._times(layers)[levels])
        return (velocity - (signal * noise - sigma * x)).square().mean()

    def _velocity(self, layers: dict[str, Any], z: Any, times: Any) -> Any:
        """The velocity by the formula of `DenoiserNetwork`: (n, d) and (n, B + 1, H) -> (n, d)."""
        silu = self._torch.nn.functional.silu
        h = z @ layers["first"].T + times[:, 0]
        for k in range(self._settings.blocks):
            h = h + silu(h @ layers["inner"][k].T + times[:, k + 1]) @ layers["outer"][k].T
        return h @ layers["last"].T + layers["last_bias"]

    def _times(self, layers: dict[str, Any]) -> Any:
        """The time embedding of every step, (L, B + 1, H): a perceptron of its features."""
        silu = self._torch.nn.functional.silu
        embedded = silu(self._features @ layers["embed"].T + layers["embed_bias"])
        spread = embedded @ layers["spread"].T + layers["spread_bias"]
        return spread.reshape(len(self._features), self._settings.blocks + 1, self._settings.hidden)

    def _layers(self, flat: Any) -> dict[str, Any]:
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        parts = flat.split(sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _on_device(self, tensor: Any) -> Any:
        # The noise is drawn on the CPU whatever the device, so that devices differ only by rounding.
        return tensor.to(self._settings.device)


def _time_features(alpha_bars: Array) -> Array:
    """The log ratio of signal to noise of each step, and sines and cosines of it: (L, 2 F + 1)."""
    ratio = 0.5 * (np.log(alpha_bars) - np.log1p(-alpha_bars))
    angles = ratio[:, None] * 2.0 ** (np.arange(_FREQUENCIES) / 2.0 - 2.0)
    return np.hstack([ratio[:, None] / 2.0, np.sin(angles), np.cos(angles)])


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Use one thread on the CPU: so small a network gains nothing from more, and waits for them where cores are busy.

    The result is then also the same whatever the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_on(device: str) -> Any:
    """Return the module torch, if it is installed and can use the device."""
    try:
        import torch
    except ImportError as error:
        raise missing_extra("pre-training", "torch", "torch", error) from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device must be one that torch can use, got {device!r}: {reason}") from error
    return torch
