"""CoALM on Oumi: build the data, train and evaluate one model for dialogue and tool use."""

__version__ = "0.1.0"
