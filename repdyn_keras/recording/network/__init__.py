"""The recorded layers and the output of a network, and passes through them."""
