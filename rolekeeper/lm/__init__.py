"""How a language model is touched: loading, encoding, batches, forward passes, decoding."""
