"""Layers: how each operator runs, elastic in a supernet and plain in a network."""

from nasforge.layers.base import Layer, LeafViews, Stateless, layer_class
from nasforge.layers.mixture import Mixture

__all__ = ["Layer", "LeafViews", "Mixture", "Stateless", "layer_class"]
