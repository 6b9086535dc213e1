"""The paper: tensors and strings in, tensors and numbers out. No I/O, no framework but torch."""
