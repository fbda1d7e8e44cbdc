"""The reference low-level training loop for TensorFlow / Keras 3, shown on MNIST."""

__version__ = "0.1.0"
