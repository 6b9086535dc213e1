"""Published jailbreaks, to measure what they make a model do. Their texts are data: Rolekeeper ships none of them."""
