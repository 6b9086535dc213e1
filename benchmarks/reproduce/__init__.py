"""The study: characters, seeds and ways to train, through the product's own code, from a plan that is written first."""
