"""The conductor: moves jobs along, and heals what got lost. No torch."""
