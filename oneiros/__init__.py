"""Oneiros: one neural-network API, Keras 3's, over many engines."""
